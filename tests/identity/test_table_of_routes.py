"""The whole OpenAPI document against every state a caller can be in (P8, P11, A24): which routes each reaches is
written down here, independent of what the routes declare. A route that is not in these tables must be refused."""

from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from services.identity.guards import CSRF_HEADER
from services.identity.model import SessionId
from tests.identity.people import Json, Person, Stack

PUBLIC = {
    "POST /v1/sessions",
    "GET /v1/activations/{token}",
    "POST /v1/activations/{token}",
    "POST /v1/webhooks/twilio/status",
    "GET /healthz",
    "GET /readyz",
    "GET /openapi.json",
}
WAITING = {
    "GET /v1/session",
    "DELETE /v1/session",
    "POST /v1/session/second-factor",
    "POST /v1/session/second-factor/sms",
    "GET /v1/session/second-factor/sms",
}
ENROLLING = {
    *WAITING,
    "GET /v1/me",
    "PATCH /v1/me",
    "GET /v1/me/two-factor",
    "POST /v1/me/two-factor/totp",
    "GET /v1/me/two-factor/totp/{enrolment_id}/qr.svg",
    "GET /v1/me/two-factor/totp/{enrolment_id}/qr.png",
    "POST /v1/me/two-factor/totp/{enrolment_id}/confirm",
    "POST /v1/me/two-factor/sms",
    "POST /v1/me/two-factor/sms/{enrolment_id}/confirm",
}
NO_STEP_UP = {
    "DELETE /v1/session",
    "POST /v1/session/second-factor",
    "POST /v1/session/second-factor/sms",
    # What only makes the account safer, or tells who someone is.
    "PATCH /v1/me",
    "DELETE /v1/me/sessions/{session_id}",
    "DELETE /v1/me/devices/{device_id}",
    "DELETE /v1/me/notices/{notice_id}",
    # Answers what would be, and changes nothing.
    "POST /v1/clinic/security/preview",
}
FOR_APPS = {"POST /v1/sessions/introspect"}
GUARDS = {"unauthenticated", "second-factor-required", "enrolment-required", "step-up-required", "forbidden"}


@dataclass
class Caller:
    """One state of a session, by bearer token or by the pages' cookie, with its CSRF token."""

    person: Person
    session_id: str

    async def call(self, method: str, path: str, *, by_cookie: bool) -> httpx.Response:
        stack = self.person.stack
        body = {} if method in ("POST", "PUT", "PATCH") else None
        if not by_cookie:
            return await stack.call(method, path, body, token=self.person.token)
        headers = {
            "Cookie": f"{stack.gateway.cookies.name}={self.person.token}",
            CSRF_HEADER: stack.gateway.cookies.csrf_token(SessionId(self.session_id)),
            "Origin": stack.settings.public_origin,
        }
        return await stack.call(method, path, body, **headers)


Callers = dict[str, Caller]


@pytest.fixture
async def callers(stack: Stack) -> Callers:
    """An administrator in every state but `staff`, who is active and none."""
    clinic = await stack.make_clinic()
    found = {}
    for state in ("active", "second_factor_required", "revoked"):
        person = await clinic.person("admin")
        session = await person.sign_in()
        await person.enrol_totp()
        found[state] = Caller(person, session["id"])
    session = await found["second_factor_required"].person.sign_in()
    found["second_factor_required"].session_id = session["id"]
    staff = await clinic.person("practitioner")
    found["staff"] = Caller(staff, (await staff.sign_in())["id"])
    await staff.enrol_totp()
    await clinic.require_here(phone_required=False)
    enrolling = await clinic.person("admin")
    found["enrolment_required"] = Caller(enrolling, (await enrolling.sign_in())["id"])
    assert (await found["revoked"].person.call("DELETE", "/v1/session")).status_code == 204
    for state in ("second_factor_required", "enrolment_required"):
        assert await found[state].person.state() == state
    return found


async def operations(stack: Stack) -> list[tuple[str, str]]:
    """Each operation's name and path; parameters are the ids of something that is there, where that is known."""
    document: Json = (await stack.call("GET", "/openapi.json")).json()
    return [
        (f"{method.upper()} {path}", path)
        for path, methods in document["paths"].items()
        for method in methods
        # Signing out would end the caller; a test of its own is elsewhere.
        if (method, path) != ("delete", "/v1/session")
    ]


def filled(path: str, target: Person) -> str:
    known = {"user_id": target.id, "method": "totp", "name": "ledger"}
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        path = before + known.get(name, "none") + after
    return path


def slug(response: httpx.Response) -> str:
    if response.headers.get("content-type") != "application/problem+json":
        return ""
    return str(response.json()["type"].removeprefix("urn:countersign:problem:"))


async def test_p08_a24_every_route_of_the_document_against_every_state_leaks_nothing(
    stack: Stack, callers: Callers
) -> None:
    target = callers["staff"].person
    leaks, asked = [], 0
    for name, path in await operations(stack):
        method, whole = name.partition(" ")[0], filled(path, target)
        if name in PUBLIC:
            continue
        anonymous = await stack.call(method, whole, {} if method in ("POST", "PUT", "PATCH") else None)
        answers = [("anonymous", anonymous, (401, "unauthenticated"))]
        for state, allowed in (
            ("revoked", set()),
            ("second_factor_required", WAITING),
            ("enrolment_required", ENROLLING),
        ):
            refusal = (401, "unauthenticated") if state == "revoked" else (403, state.replace("_", "-"))
            for by_cookie in (False, True):
                answer = await callers[state].call(method, whole, by_cookie=by_cookie)
                if name not in allowed:
                    answers.append((f"{state}, cookie: {by_cookie}", answer, refusal))
        asked += len(answers)
        for state, answer, expected in answers:
            app_only = name in FOR_APPS and answer.status_code in (401, 403)
            if (answer.status_code, slug(answer)) != expected and not app_only:
                leaks.append((name, state, answer.status_code, slug(answer)))
    assert leaks == []
    assert asked >= 150, "the document was read"


async def test_p08_an_active_session_meets_no_guard_but_those_of_role_and_step_up(
    stack: Stack, callers: Callers
) -> None:
    met = {}
    for name, path in await operations(stack):
        if name in PUBLIC | FOR_APPS or ("{" in path and name.startswith("DELETE")):
            continue
        answer = await callers["active"].call(
            name.partition(" ")[0], filled(path, callers["staff"].person), by_cookie=True
        )
        if slug(answer) in GUARDS:
            met[name] = slug(answer)
        assert answer.status_code < 500, name
    assert met == {}, "an administrator with a fresh proof reaches everything"


async def test_p11_a40_with_a_proof_six_minutes_old_every_change_asks_for_a_fresh_one(
    stack: Stack, callers: Callers
) -> None:
    stack.clock.advance(timedelta(minutes=6))
    changed = []
    for name, path in await operations(stack):
        method = name.partition(" ")[0]
        if method == "GET" or name in PUBLIC | NO_STEP_UP | FOR_APPS:
            continue
        for by_cookie in (False, True):
            answer = await callers["active"].call(method, filled(path, callers["staff"].person), by_cookie=by_cookie)
            if (answer.status_code, slug(answer)) != (401, "step-up-required"):
                changed.append((name, by_cookie, answer.status_code, slug(answer)))
            else:
                assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
                assert answer.json()["max_age"] == 300
    assert changed == []
