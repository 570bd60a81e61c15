"""Who may pass which route (P8, A24): every route that the gateway serves, called in every state a caller can be in."""

import re

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from services.identity.guards import PUBLIC, Admits, Public, check_declared, declaration_of
from services.identity.model import Role, Scope, SessionState
from tests.identity.people import Person, Stack, slug_of

_PARAMETER = re.compile(r"\{[^}]+\}")

Callers = dict[str, Person]


@pytest.fixture
async def callers(stack: Stack) -> Callers:
    """One person for each state of a session, each an administrator but one."""
    clinic = await stack.make_clinic()
    full, pending, revoked = [await clinic.person("admin") for _ in range(3)]
    for one in (full, pending, revoked):
        await one.sign_in()
        await one.enrol_totp()
    await pending.sign_in()
    staff = await clinic.person("practitioner")
    await staff.sign_in()
    await staff.enrol_totp()
    await clinic.require_here(phone_required=False)
    enrolling = await clinic.person("admin")
    assert (await enrolling.sign_in())["state"] == "enrolment_required"
    assert (await revoked.call("DELETE", "/v1/session")).status_code == 204
    return {"full": full, "pending": pending, "enrolling": enrolling, "revoked": revoked, "staff": staff}


def api_routes(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    return [
        (method, _PARAMETER.sub("none", route.path), route)
        for route in app.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in sorted(route.methods or ())
    ]


async def test_p08_anonymous_and_revoked_callers_reach_public_routes_only(stack: Stack, callers: Callers) -> None:
    for method, path, route in api_routes(stack.app):
        if isinstance(declaration_of(route), Public):
            continue
        for token in ("", "no-such-token", callers["revoked"].token):
            body = {} if method in ("POST", "PUT", "PATCH") else None
            response = await stack.call(method, path, body, token=token)
            assert (response.status_code, slug_of(response)) == (401, "unauthenticated"), (method, path)
            assert response.json().get("cause") == ("ended" if token == callers["revoked"].token else None)
            assert response.headers["www-authenticate"].startswith("Bearer")


async def test_p08_a24_a_pending_session_reaches_nothing_but_the_code(stack: Stack, callers: Callers) -> None:
    reached = set()
    for method, path, route in api_routes(stack.app):
        declared = declaration_of(route)
        if not isinstance(declared, Admits) or (method, path) == ("DELETE", "/v1/session"):
            continue
        body = {} if method in ("POST", "PUT", "PATCH") else None
        response = await stack.call(method, path, body, token=callers["pending"].token)
        if response.status_code != 403 or slug_of(response) != "second-factor-required":
            reached.add(f"{method} {path}")
    assert reached == {
        "GET /v1/session",
        "POST /v1/session/second-factor",
        "POST /v1/session/second-factor/sms",
        "GET /v1/session/second-factor/sms",
    }


async def test_p08_a24_an_enrolling_session_reaches_nothing_but_the_way_forward(stack: Stack, callers: Callers) -> None:
    reached = set()
    for method, path, route in api_routes(stack.app):
        declared = declaration_of(route)
        if not isinstance(declared, Admits) or (method, path) == ("DELETE", "/v1/session"):
            continue
        body = {} if method in ("POST", "PUT", "PATCH") else None
        response = await stack.call(method, path, body, token=callers["enrolling"].token)
        if response.status_code != 403 or slug_of(response) != "enrolment-required":
            reached.add(f"{method} {path}")
    assert reached - {"POST /v1/session/second-factor/sms"} == {
        "GET /v1/session",
        "POST /v1/session/second-factor",  # 422 for {}; with a code it says enrolment-required, see below
        "GET /v1/session/second-factor/sms",
        "GET /v1/me",
        "PATCH /v1/me",
        "GET /v1/me/two-factor",
        "POST /v1/me/two-factor/totp",
        "GET /v1/me/two-factor/totp/none/qr.svg",
        "GET /v1/me/two-factor/totp/none/qr.png",
        "POST /v1/me/two-factor/totp/none/confirm",
        "POST /v1/me/two-factor/sms",
        "POST /v1/me/two-factor/sms/none/confirm",
    }
    proving = await callers["enrolling"].prove("123456")
    assert (proving.status_code, slug_of(proving)) == (403, "enrolment-required")
    renaming = await callers["enrolling"].call("PATCH", "/v1/me", {"name": "Somebody Else"})
    assert (renaming.status_code, slug_of(renaming)) == (403, "enrolment-required")


async def test_p08_administrators_routes_refuse_everybody_else(stack: Stack, callers: Callers) -> None:
    seen = 0
    for method, path, route in api_routes(stack.app):
        declared = declaration_of(route)
        if isinstance(declared, Admits) and declared.role is Role.ADMIN:
            seen += 1
            body = {} if method in ("POST", "PUT", "PATCH") else None
            response = await stack.call(method, path, body, token=callers["staff"].token)
            assert (response.status_code, slug_of(response)) == (403, "forbidden"), (method, path)
    assert seen >= 8


async def test_p08_an_app_reaches_what_its_scope_names_and_public_routes_only(stack: Stack, callers: Callers) -> None:
    clinic = callers["full"].clinic
    reached: dict[str, set[str]] = {}
    for scope in Scope:
        _, key = await stack.gateway.apps.create(clinic.slug, scope.value, [scope])
        reached[scope.value] = set()
        for method, path, route in api_routes(stack.app):
            declared = declaration_of(route)
            if isinstance(declared, Public):
                continue
            body = {} if method in ("POST", "PUT", "PATCH") else None
            response = await stack.call(method, path, body, token=key)
            if (response.status_code, slug_of(response) if response.status_code >= 400 else "") != (403, "forbidden"):
                reached[scope.value].add(f"{method} {path}")
                assert declared.app is scope, (method, path)
    assert reached == {
        "sessions.read": {"POST /v1/sessions/introspect"},
        "users.write": {"POST /v1/users", "GET /v1/users", "GET /v1/users/none", "PATCH /v1/users/none"},
        "integrations.write": {
            "GET /v1/clinic/integrations",
            "PUT /v1/clinic/integrations/none",
            "DELETE /v1/clinic/integrations/none",
        },
    }


async def test_p08_a_route_without_a_declaration_stops_the_start() -> None:
    router = APIRouter()

    @router.get("/v1/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(LookupError, match="/v1/forgotten"):
        check_declared(router.routes)

    @router.get("/v1/twice", dependencies=[PUBLIC, PUBLIC])
    async def twice() -> None: ...

    with pytest.raises(LookupError, match="/v1/twice"):
        check_declared(router.routes[1:])


async def test_every_guarded_route_of_the_api_admits_active_sessions(stack: Stack) -> None:
    for method, path, route in api_routes(stack.app):
        declared = declaration_of(route)
        if isinstance(declared, Admits) and declared.states is not None:
            assert SessionState.ACTIVE in declared.states, (method, path)


async def test_p11_every_step_up_route_refuses_a_stale_proof(stack: Stack, callers: Callers) -> None:
    from datetime import timedelta

    full = callers["full"]
    stack.clock.advance(timedelta(minutes=4))
    stale = set()
    for method, path, route in api_routes(stack.app):
        declared = declaration_of(route)
        if not isinstance(declared, Admits) or method == "GET":
            continue
        body = {} if method in ("POST", "PUT", "PATCH") else None
        if path in ("/v1/session", "/v1/session/second-factor", "/v1/session/second-factor/sms"):
            continue
        response = await stack.call(method, path, body, token=full.token)
        if response.status_code == 401:
            assert slug_of(response) == "step-up-required"
            assert response.json()["max_age"] == 300
            assert 'error="insufficient_user_authentication"' in response.headers["www-authenticate"]
            stale.add(f"{method} {path}")
        else:
            assert not declared.step_up, (method, path)
    assert {
        "POST /v1/me/phone",
        "POST /v1/me/phone/confirm",
        "PUT /v1/me/password",
        "POST /v1/me/two-factor/totp",
        "POST /v1/me/two-factor/totp/none/confirm",
        "POST /v1/me/two-factor/sms",
        "POST /v1/me/two-factor/sms/none/confirm",
        "DELETE /v1/me/two-factor/none",
        "POST /v1/me/two-factor/backup-codes",
        "PATCH /v1/clinic/security",
        "PUT /v1/clinic/integrations/none",
        "DELETE /v1/clinic/integrations/none",
        "POST /v1/users",
        "POST /v1/users/none/password-reset",
        "PUT /v1/users/none/two-factor/requirement",
        "POST /v1/users/none/two-factor/bypass",
        "DELETE /v1/users/none/two-factor/bypass",
        "DELETE /v1/users/none/devices",
        "PUT /v1/device/shared",
        "DELETE /v1/device/shared",
    } <= stale
