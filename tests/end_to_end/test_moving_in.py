"""Moving in from another system, from the outside: people with the passwords they have, and the authenticator apps on
their phones."""

import json
import secrets
from typing import Any

import bcrypt

from tests.end_to_end.client import Authenticator, Person, ok, problem
from tests.end_to_end.clinics import Clinic

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def told(clinic: Clinic, service: str, command: str, fed: str, *options: str) -> list[dict[str, Any]]:
    printed = clinic.stack.command(service, command, "-", "--clinic", clinic.slug, *options, fed=fed)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_staff_sign_in_with_the_password_and_the_app_they_had(clinic: Clinic) -> None:
    email = f"mina-{secrets.token_hex(4)}@{clinic.slug}.example"
    person = Person(clinic.slug, email, "Mina Okafor", authenticator=Authenticator(SECRET))
    old = bcrypt.hashpw(person.password.encode(), bcrypt.gensalt(10)).decode()
    line = json.dumps({"email": email, "name": person.name, "role": "receptionist", "password_hash": old})
    address = f"otpauth://totp/Old%20Product:{email}?secret={SECRET}&issuer=Old%20Product"

    dry = told(clinic, "identity", "import-users", line)
    assert [one.get("result") for one in dry] == ["would be made", None]
    problem(clinic.client().password(person), 401, "invalid-credentials")
    for _ in range(2):
        people = told(clinic, "identity", "import-users", line, "--apply")
        apps = told(clinic, "otp", "import", address, "--apply")
    assert (people[0]["result"], apps[0]["result"]) == ("already there", "already there")
    assert apps[1] == {"applied": True, "made": 0, "there": 1, "refused": 0}

    client = clinic.client()
    session = client.sign_in(person)
    assert (session["state"], session["methods"]) == ("second_factor_required", ["totp"])
    person.app.code()  # of the step before, and the one of now is not taken either: the old product may have had them
    person.app.code()
    answer = ok(client.factor("totp", person.app.code()))
    assert (answer["state"], answer["user"]["role"]) == ("active", "receptionist")
    again = clinic.client()
    assert again.sign_in(person)["state"] == "second_factor_required"
    problem(again.factor("totp", person.app.last_code()), 422, "code-already-used")
    users = ok(clinic.desk.get("/v1/users"))["users"]
    assert email in [user["email"] for user in users]
    events = ok(clinic.desk.get("/v1/audit-events"))["events"]
    kinds = {event["kind"]: event["actor"]["kind"] for event in events}
    assert (kinds["user.imported"], kinds["factor.imported"]) == ("operator", "operator")
    logged = json.dumps(clinic.stack.logs())
    assert SECRET not in logged
    assert old[-31:] not in logged
