"""P12: what is secret is nowhere but where it belongs. Canaries are led through every flow, refused ones too; then all
logs, traces, both Redis, the messages that wait for the worker, the metrics and a dump of every database are searched
for them, and the text of every statement, which is what pg_stat_statements keeps (the embedded server has it not).
"""

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from redis import Redis

from deploy.programs import program
from tests.end_to_end.client import Client, Person, new_number, ok, problem, told
from tests.end_to_end.clinics import Clinic, code_in
from tests.end_to_end.stack import LocalStack
from tests.end_to_end.traces import Collector

pytestmark = pytest.mark.local_only("reads the stack's files, both Redis and every database")

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?|\b\d+\.\d+\b")
DATABASES = ("identity", "otp", "policy", "notifier")


@dataclass
class Canaries:
    """Secrets that were led through the stack, each with what it was."""

    long: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)

    def plant(self, what: str, secret: str) -> str:
        """Remembers a secret that is long enough to be found wherever it stands, in any of its spellings."""
        raw = secret.encode()
        spellings = {secret, raw.hex(), base64.b64encode(raw).decode().rstrip("="), quote(secret, safe="")}
        for spelling in spellings:
            self.long[spelling] = what
        return secret

    def plant_totp(self, secret: str) -> None:
        self.plant("TOTP secret", secret)
        self.long[base64.b32decode(secret).hex()] = "TOTP secret, decoded"

    def plant_backup_code(self, code: str) -> None:
        for spelling in (code, code.replace("-", ""), code.lower(), code.replace("-", "").lower()):
            self.plant("backup code", spelling)

    def plant_number(self, number: str) -> None:
        self.plant("phone number", number.removeprefix("+"))
        self.long[number.removeprefix("+1")] = "phone number, national"

    def plant_code(self, what: str, code: str) -> str:
        """Six digits, which may stand anywhere by chance: found only as a word, and not in a time."""
        self.codes[code] = what
        return code

    def found_in(self, places: Mapping[str, str]) -> list[str]:
        hits: list[str] = []
        word = re.compile(r"(?<![\w.])(" + "|".join(self.codes or {"none": ""}) + r")(?![\w.])")
        for place, text in places.items():
            hits += [f"{what} in {place}: {around(text, text.find(s))}" for s, what in self.long.items() if s in text]
            plain = _TIME.sub(" ", text)
            hits += [f"{self.codes[m[1]]} in {place}: {around(plain, m.start())}" for m in word.finditer(plain)]
        return hits


def around(text: str, at: int) -> str:
    return repr(text[max(0, at - 120) : at + 60])


def test_p12_nothing_secret_is_in_logs_redis_messages_metrics_or_dumps(
    local: LocalStack, shared: Clinic, collector: Collector, tmp_path: Path
) -> None:
    canaries = Canaries()
    with every_statement_logged(local):
        person, client = a_set_up_by_app(shared, canaries)
        with local.hung("worker"):
            number, enrolment_id = a_text_is_asked_for(client, canaries)
            waiting = everything(local, tmp_path)
            assert "celery" in waiting["broker"] or "_kombu" in waiting["broker"], "the message waits in the queue"
            assert canaries.found_in(waiting) == []
        a_text_is_confirmed(shared, client, canaries, number, enrolment_id)
        sign_ins(shared, person, canaries)
        refusals(shared, person, canaries)
    places = everything(local, tmp_path)
    if "COUNTERSIGN_STACK" not in os.environ:  # one that somebody else has started sends its traces elsewhere
        places["traces"] = traces_of_all(shared, person, collector)
        assert "countersign.otp.v1.Otp/Verify" in places["traces"]
        assert "POST /v1/session/second-factor" in places["traces"]
    # The search itself is proven first: what is known to be there is found.
    assert person.id in places["dump of otp"]
    assert person.email in places["dump of identity"]
    statements = "".join(text for place, text in places.items() if place.startswith("log postgres"))
    assert "UPDATE account SET" in statements
    assert "INSERT INTO session" in statements
    assert person.id in places["dump of notifier"] or shared.id in places["dump of notifier"]
    assert canaries.found_in(places) == []


def a_set_up_by_app(clinic: Clinic, canaries: Canaries) -> tuple[Person, Client]:
    person, activation = clinic.invite()
    canaries.plant("activation token", activation["token"])
    person.password = canaries.plant("password", f"Canary-{secrets.token_hex(12)}")
    client = clinic.client()
    ok(client.get(f"/v1/activations/{activation['token']}"))
    ok(client.post(f"/v1/activations/{activation['token']}", {"password": person.password}), 204)
    problem(client.post(f"/v1/activations/{activation['token']}", {"password": person.password}), 410, "gone")
    canaries.plant("session token", client.sign_in(person)["token"])
    enrolment = client.start_totp()
    client.get(f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}/qr.png")
    answer = client.enrol_totp(person)
    canaries.plant("session token", answer["session"]["token"])
    canaries.plant_totp(person.app.secret)
    canaries.plant_code("TOTP code", person.app.last_code())
    for code in person.backup_codes:
        canaries.plant_backup_code(code)
    return person, client


def a_text_is_asked_for(client: Client, canaries: Canaries) -> tuple[str, str]:
    number = new_number()
    canaries.plant_number(number)
    ok(client.patch("/v1/me", {"phone": number}))
    enrolment = ok(client.post("/v1/me/two-factor/sms", {"phone": number}), 202)
    return number, enrolment["enrolment_id"]


def a_text_is_confirmed(clinic: Clinic, client: Client, canaries: Canaries, number: str, enrolment_id: str) -> None:
    code = canaries.plant_code("SMS code", code_in(clinic.stack.text(number)))
    answer = ok(client.post(f"/v1/me/two-factor/sms/{enrolment_id}/confirm", {"code": code}))
    client.token = canaries.plant("session token", answer["session"]["token"])
    made = ok(client.post("/v1/me/two-factor/backup-codes"), 201)
    for code in made["codes"]:
        canaries.plant_backup_code(code)


def sign_ins(clinic: Clinic, person: Person, canaries: Canaries) -> None:
    client = clinic.client()
    canaries.plant("session token", client.sign_in(person)["token"])
    code = canaries.plant_code("TOTP code", person.app.code())
    key = canaries.plant("idempotency key", secrets.token_urlsafe(24))
    session = ok(client.factor("totp", code, headers={"Idempotency-Key": key}))
    client.token = canaries.plant("session token", session["token"])
    new_password = canaries.plant("new password", f"Canary-{secrets.token_hex(12)}")
    change = {"current_password": person.password, "new_password": new_password}
    client.token = canaries.plant("session token", ok(client.put("/v1/me/password", change))["token"])
    person.password = new_password
    activation = ok(clinic.desk.post(f"/v1/users/{person.id}/password-reset"), 201)["activation"]
    canaries.plant("reset token", activation["token"])


def refusals(clinic: Clinic, person: Person, canaries: Canaries) -> None:
    """What is refused is as secret as what is taken: a wrong password is often a right one elsewhere."""
    client = clinic.client()
    wrong = canaries.plant("wrong password", f"Wrong-{secrets.token_hex(12)}")
    problem(client.password(Person(person.clinic, person.email, password=wrong)), 401, "invalid-credentials")
    bodies: list[bytes] = [
        json.dumps({"clinic": person.clinic, "email": person.email, "password": wrong, "unknown": wrong}).encode(),
        json.dumps({"clinic": person.clinic, "email": person.email, "password": [wrong]}).encode(),
        json.dumps({"clinic": person.clinic, "email": person.email, "password": wrong + "\u0000"}).encode(),
        json.dumps({"clinic": person.clinic, "email": person.email, "password": wrong})[:-1].encode(),
        f'{{"password": "{wrong}", '.encode() + b"\xff",
    ]
    answers = [
        client.call("POST", "/v1/sessions", content=b, headers={"Content-Type": "application/json"}) for b in bodies
    ]
    client.sign_in(person)
    answers.append(client.factor("totp", wrong))
    answers.append(client.factor("totp", [canaries.plant_code("wrong code", person.app.wrong_code())]))
    answers.append(client.factor("totp", canaries.plant_code("wrong code", person.app.wrong_code())))
    answers.append(client.factor("backup_code", person.backup_codes[0]))
    answers.append(client.get(f"/v1/activations/{canaries.plant('made-up token', secrets.token_urlsafe(32))}"))
    forged = canaries.plant("forged session token", secrets.token_urlsafe(32))
    answers.append(client.get("/v1/session", token=forged))
    answers.append(client.get("/v1/session", params={"code": canaries.plant("query", secrets.token_hex(16))}))
    for answer in answers:
        assert answer.status_code in (200, 400, 401, 404, 410, 422), told(answer)
        assert wrong not in answer.text, "an answer repeats what was sent"


def everything(local: LocalStack, folder: Path) -> dict[str, str]:
    """All that the stack has written anywhere, as text, by place."""
    places = {f"log {name}": text for name, text in local.logs().items()}
    for name, address in local.told["metrics"].items():
        with contextlib.suppress(httpx.HTTPError):
            places[f"metrics of {name}"] = httpx.get(address, trust_env=False, timeout=5).text
    assert any(name.startswith("metrics of") for name in places)
    for name in ("redis", "broker"):
        places[name] = redis_contents(local, name)
    for database in DATABASES:
        places[f"dump of {database}"] = dump(local, database)
    return places


def traces_of_all(clinic: Clinic, person: Person, collector: Collector) -> str:
    """All traces, once those of a last request, which goes through identity and otp, have come: they go in order."""
    trace_id = secrets.token_hex(16)
    client = clinic.client()
    client.sign_in(person)
    mark = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    problem(client.factor("totp", person.app.wrong_code(), headers=mark), 422, "invalid-code")
    ends_at = time.monotonic() + 30
    while not collector.services_of(trace_id) >= {"identity", "otp"}:
        assert time.monotonic() < ends_at, f"traces of {collector.services_of(trace_id)} alone within 30 s"
        time.sleep(0.2)
    return collector.text()


@contextlib.contextmanager
def every_statement_logged(local: LocalStack) -> Iterator[None]:
    """PostgreSQL's log gets the text of each statement meanwhile, as it was sent: without what was bound to it."""
    host, password = local.superuser
    with psycopg.connect(host=host, user="postgres", password=password, dbname="postgres", autocommit=True) as server:
        server.execute("ALTER SYSTEM SET log_parameter_max_length = 0")
        server.execute("ALTER SYSTEM SET log_statement = 'all'")
        server.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            server.execute("ALTER SYSTEM RESET log_statement")
            server.execute("ALTER SYSTEM RESET log_parameter_max_length")
            server.execute("SELECT pg_reload_conf()")


def dump(local: LocalStack, database: str) -> str:
    host, password = local.superuser
    command = [program("pg_dump"), "-h", host, "-U", "postgres", "--inserts", database]
    environment = {**os.environ, "PGPASSWORD": password}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def redis_contents(local: LocalStack, name: str) -> str:
    """Every key and value, read by a user that exists for this moment: none of the stack's own may read them all."""
    secret = local.state / "secrets" / name
    environments = json.loads((local.state / "run" / "environments.json").read_text())
    url = environments["otp"]["OTP_REDIS_URL"] if name == "redis" else environments["notifier"]["NOTIFIER_BROKER_URL"]
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    with auditor(secret, port) as redis:
        lines: list[str] = []
        for key in sorted(redis.keys("*")):
            kind = redis.type(key).decode()
            value = {
                "string": lambda key=key: redis.get(key),
                "list": lambda key=key: redis.lrange(key, 0, -1),
                "hash": lambda key=key: redis.hgetall(key),
                "set": lambda key=key: redis.smembers(key),
                "zset": lambda key=key: redis.zrange(key, 0, -1),
            }[kind]()
            lines.append(f"{key!r} {value!r} {decoded(value)}")
    return "\n".join(lines)


def decoded(value: object) -> str:
    """What kombu wrapped in base64."""
    found = []
    for text in re.findall(r'"body": "([A-Za-z0-9+/=]+)"', str(value)):
        with contextlib.suppress(ValueError):
            found.append(base64.b64decode(text).decode(errors="replace"))
    return " ".join(found)


@contextlib.contextmanager
def auditor(secret: Path, port: int) -> Iterator[Redis]:
    users = secret / "users.acl"
    before, mode = users.read_text(), users.stat().st_mode
    password = secrets.token_hex(16)
    operator = Redis(port=port, username="operator", password=(secret / "operator_password").read_text().strip())
    try:
        users.chmod(0o640)
        users.write_text(before + f"user auditor on >{password} ~* &* +@all\n")
        operator.execute_command("ACL", "LOAD")
        reader = Redis(port=port, username="auditor", password=password)
        yield reader
        reader.close()
    finally:
        users.write_text(before)
        users.chmod(mode)
        operator.execute_command("ACL", "LOAD")
        operator.close()
