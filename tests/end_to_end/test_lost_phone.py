"""A lost phone, from the outside: one sign-in without a code, by an administrator or by the operator's command (R16),
and browsers that are remembered meanwhile (R10)."""

import json

from tests.end_to_end.client import Authenticator, new_number, ok, problem
from tests.end_to_end.clinics import Clinic


def test_a46_an_administrator_lets_someone_in_once_and_takes_it_back(clinic: Clinic) -> None:
    person, client = clinic.enrolled(phone=new_number())
    clinic.desk.enrol_totp(clinic.admin)
    path = f"/v1/users/{person.id}/two-factor/bypass"
    rule = ok(clinic.desk.get("/v1/clinic/security"))
    bypass = ok(clinic.desk.post(path, {"reason": "Lost on the ferry."}), 201)
    assert bypass["state"] == "unused"
    elsewhere = clinic.client()
    session = elsewhere.sign_in(person)
    assert (session["state"], session["acr"]) == ("enrolment_required", "aal1")
    problem(elsewhere.get("/v1/me/sessions"), 403, "enrolment-required")
    assert clinic.client().sign_in(person)["state"] == "second_factor_required"
    assert client.state() == "active"  # ends only when the new factor is confirmed
    old: Authenticator = person.app
    answer = elsewhere.enrol_totp(person)
    assert (answer["session"]["state"], len(answer["backup_codes"])) == ("active", 10)
    problem(client.get("/v1/session"), 401, "unauthenticated", cause="ended")
    waiting = clinic.client()
    waiting.sign_in(person)
    problem(waiting.factor("totp", old.code()), 422, "invalid-code")
    assert ok(clinic.desk.get("/v1/clinic/security")) == rule
    ok(clinic.desk.delete(path), 204)  # it was not who they said
    problem(elsewhere.get("/v1/session"), 401, "unauthenticated", cause="ended")
    problem(waiting.password(person), 401, "invalid-credentials")
    problem(clinic.desk.delete(path), 404, "not-found")


def test_the_operator_helps_a_clinic_whose_only_administrator_lost_the_phone(clinic: Clinic) -> None:
    clinic.desk.patch("/v1/me", {"phone": new_number()})
    clinic.desk.enrol_totp(clinic.admin)
    options = ["--clinic", clinic.slug, "--email", clinic.admin.email, "--reason", "Ticket 7, called back."]
    for service in ("policy", "identity"):
        answer = json.loads(clinic.stack.command(service, "bypass", *options))
        assert answer["user_id"] == clinic.admin.id
        assert clinic.desk.sign_in(clinic.admin)["state"] == "enrolment_required"
        clinic.desk.enrol_totp(clinic.admin)
    events = ok(clinic.desk.get("/v1/audit-events?kind=bypass.granted"))["events"]
    assert [event["actor"]["kind"] for event in events] == ["operator", "operator"]


def test_a_remembered_browser_needs_no_code_until_the_clinic_thinks_otherwise(clinic: Clinic) -> None:
    clinic.require(remember_device_days=7, phone_required=False)
    person, client = clinic.enrolled()
    client.sign_in(person)
    proven = ok(client.post("/v1/session/second-factor", _code(person.app, remember_device=True)))
    token = proven["device_token"]
    session = client.sign_in(person, device_token=token)
    assert (session["state"], session["remembered"], session["verified_at"]) == ("active", True, None)
    problem(client.post("/v1/me/two-factor/backup-codes"), 401, "step-up-required")
    assert client.sign_in(person, device_token=session["device_token"], shared_device=True)["methods"]
    refused = client.post("/v1/session/second-factor", _code(person.app, remember_device=True))
    problem(refused, 422, "invalid-request")
    clinic.require(remember_device_days=0)
    assert client.sign_in(person, device_token=session["device_token"])["state"] == "second_factor_required"


def _code(app: Authenticator, *, remember_device: bool) -> dict[str, object]:
    return {"method": "totp", "code": app.code(), "remember_device": remember_device}
