"""A client app as the contract sees it, and the people who use it: HTTP and RFC 6238, nothing of ours inside.

Invariant: a person's authenticator gives each step's code once, as its owner would, and waits rather than repeat one.
"""

import base64
import hashlib
import hmac
import itertools
import os
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

STEP_SECONDS = 30


def totp(secret: str, step: int) -> str:
    """RFC 6238 with SHA-1, six digits, thirty seconds: written here so that the server is not its own judge."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


def step_now(within: float = 2.5) -> int:
    """The step of now, with at least `within` seconds of it left: a code made from it still counts on arrival."""
    left = STEP_SECONDS - time.time() % STEP_SECONDS
    if left < within:
        time.sleep(left + 0.05)
    return int(time.time()) // STEP_SECONDS


@dataclass
class Authenticator:
    """A phone with an authenticator app. The server takes the steps before, of and after now: three codes at hand."""

    secret: str
    last_step: int = 0

    def code(self) -> str:
        """A code that was not given before; waits for the clock only where all three are spent."""
        now = step_now()
        step = max(self.last_step + 1, now - 1)
        if step > now + 1:
            time.sleep((step - 1) * STEP_SECONDS - time.time() + 0.05)
        self.last_step = step
        return totp(self.secret, step)

    def last_code(self) -> str:
        """The code given last, once more."""
        return totp(self.secret, self.last_step)

    def wrong_code(self) -> str:
        """A code that is right at no time near (so that neither a clock hint nor luck makes it anything but wrong)."""
        now = int(time.time()) // STEP_SECONDS
        hours = [h * 120 + d for h in range(-15, 16) for d in range(-5, 6)]
        near = {totp(self.secret, now + d) for d in itertools.chain(range(-60, 61), hours)}
        return next(code for code in iter(lambda: f"{secrets.randbelow(1_000_000):06}", "") if code not in near)


# A run that begins later, or beside this one, begins elsewhere: on one stack they would read each other's texts.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_numbers: Iterator[int] = itertools.count(int(time.time()) + 2200 * _WORKER)
# Area codes with a 555-01xx range, kept for fiction (NANP) and valid to libphonenumber; SMS limits count per range.
_AREAS = [201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228, 229, 231]
_AREAS += [234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 281, 301, 302, 303, 304, 305, 307, 308]


def new_number() -> str:
    """A fictitious mobile number that no other test of this run was given."""
    number = next(_numbers)
    return f"+1{_AREAS[number % len(_AREAS)]}55501{number // len(_AREAS) % 100:02}"


def new_password() -> str:
    return "Tall-" + secrets.token_urlsafe(15)


@dataclass
class Person:
    """Someone of a clinic with what they know and hold."""

    clinic: str
    email: str
    name: str = ""
    role: str = "practitioner"
    id: str = ""
    password: str = field(default_factory=new_password)
    phone: str = ""
    authenticator: Authenticator | None = None
    backup_codes: list[str] = field(default_factory=list)

    @property
    def app(self) -> Authenticator:
        assert self.authenticator is not None, "has no authenticator app"
        return self.authenticator


class Client:
    """One client app at one address, with at most one session token."""

    def __init__(self, gateway: str, transport: httpx.BaseTransport, address: str | None = None) -> None:
        headers = {"X-Forwarded-For": address} if address else {}
        self.gateway = gateway
        self.http = httpx.Client(base_url=gateway, transport=transport, headers=headers, timeout=15, trust_env=False)
        self.token: str | None = None

    def call(self, method: str, path: str, json: Any = ..., **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        token = options.pop("token", self.token)
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        if json is not ...:
            options["json"] = json
        return self.http.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, json: Any = ..., **options: Any) -> httpx.Response:
        return self.call("POST", path, json, **options)

    def put(self, path: str, json: Any = ..., **options: Any) -> httpx.Response:
        return self.call("PUT", path, json, **options)

    def patch(self, path: str, json: Any = ..., **options: Any) -> httpx.Response:
        return self.call("PATCH", path, json, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.call("DELETE", path, **options)

    # The steps of the story, each asserting that it went well.

    def password(self, person: Person, **more: Any) -> httpx.Response:
        """The first step, as it comes."""
        credentials = {"clinic": person.clinic, "email": person.email, "password": person.password}
        return self.post("/v1/sessions", {**credentials, **more}, token=None)

    def sign_in(self, person: Person, **more: Any) -> dict[str, Any]:
        """Password only: the session as it is after that."""
        session: dict[str, Any] = ok(self.password(person, **more), 201)
        self.token = session["token"]
        return session

    def factor(self, method: str, code: Any, **options: Any) -> httpx.Response:
        """The second step, as it comes."""
        return self.post("/v1/session/second-factor", {"method": method, "code": code}, **options)

    def prove(self, person: Person, method: str = "totp") -> dict[str, Any]:
        """The second step with a right code: the active session, its new token kept."""
        code = person.app.code() if method == "totp" else person.backup_codes.pop(0)
        session: dict[str, Any] = ok(self.factor(method, code))
        self.token = session["token"]
        return session

    def sign_in_fully(self, person: Person) -> dict[str, Any]:
        session = self.sign_in(person)
        return self.prove(person) if session["state"] == "second_factor_required" else session

    def start_totp(self) -> dict[str, Any]:
        enrolment: dict[str, Any] = ok(self.post("/v1/me/two-factor/totp"), 201)
        return enrolment

    def enrol_totp(self, person: Person) -> dict[str, Any]:
        """Sets an authenticator app up: the answer to the confirmation, its token kept."""
        enrolment = self.start_totp()
        authenticator = Authenticator(enrolment["secret"])
        path = f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}/confirm"
        body, key = {"code": authenticator.code()}, secrets.token_urlsafe(24)
        confirmed = self.post(path, body, headers={"Idempotency-Key": key})
        for _ in range(4):
            # Ten backup codes are hashed meanwhile; on a machine with much else to do that may take too long. With the
            # key, one that took too long and was done all the same is told again; one that was not done may be too old.
            if confirmed.status_code == 503:
                time.sleep(confirmed.json()["retry_after"])
            elif confirmed.status_code == 422 and authenticator.last_step < step_now() - 1:
                body, key = {"code": authenticator.code()}, secrets.token_urlsafe(24)
            else:
                break
            confirmed = self.post(path, body, headers={"Idempotency-Key": key})
        answer: dict[str, Any] = ok(confirmed)
        person.authenticator = authenticator
        person.backup_codes = list(answer.get("backup_codes", person.backup_codes))
        self.token = answer["session"]["token"]
        return answer

    def state(self) -> str:
        state: str = ok(self.get("/v1/session"))["state"]
        return state


def ok(response: httpx.Response, status: int = 200) -> Any:
    """The answer's JSON, where the status is the expected one; the whole answer in the failure otherwise."""
    assert response.status_code == status, f"{response.request.method} {response.request.url.path}: {told(response)}"
    return response.json() if response.content else None


def told(response: httpx.Response) -> str:
    return f"{response.status_code} {response.text[:800]}"


def problem(response: httpx.Response, status: int, slug: str, **members: Any) -> dict[str, Any]:
    """Asserts that the answer is the contract's problem `slug`, with these members; gives all of it."""
    assert response.status_code == status, f"{response.request.method} {response.request.url.path}: {told(response)}"
    assert response.headers["content-type"].split(";")[0] == "application/problem+json", told(response)
    body: dict[str, Any] = response.json()
    assert body["type"] == f"urn:countersign:problem:{slug}", body
    assert body["status"] == status, body
    assert body["title"], body
    assert body["detail"], body
    assert body["request_id"], body
    for name, value in members.items():
        assert body.get(name) == value, (name, body)
    for internal in ("Traceback", "psycopg", "grpc", "SELECT ", "StatusCode", 'File "'):
        assert internal not in response.text, body
    return body
