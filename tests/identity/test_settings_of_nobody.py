"""A39: everything that sets something for somebody, asked for by nobody: well-formed, with true ids and right codes, so
that nothing but the missing session keeps it from being done."""

import re
from typing import Any

import psycopg
import pytest
from fastapi.routing import APIRoute

from services.identity.guards import Public, declaration_of
from services.otp import backup_codes
from tests.identity.people import PASSWORD, PHONE, Person, Stack, slug_of
from tests.identity.test_lost_replies import confirming

NEW_PASSWORD = "quiet amber ladder seven"
OWN_TABLES = ("app_user", "session", "device", "activation", "notice", "clinic", "app_key", "bypass_use")
OTHERS = {
    "otp": ("account", "enrolment", "challenge", "backup_code", "number_mark"),
    "policy": ("clinic_rule", "user_setting", "bypass", "hold"),
}


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


class Kept:
    """All that is kept of anybody, in the three databases."""

    def __init__(self, stack: Stack, databases: dict[str, tuple[str, str]]) -> None:
        self._stack = stack
        self._names = {
            service: str(psycopg.conninfo.conninfo_to_dict(databases[service][0])["dbname"]) for service in OTHERS
        }

    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = {table: self._rows(self._stack.database_name, table) for table in OWN_TABLES}
        for service, tables in OTHERS.items():
            found |= {table: self._rows(self._names[service], table) for table in tables}
        return found

    def _rows(self, database: str, table: str) -> list[Any]:
        with self._stack.postgres.connect(database) as connection:
            rows = connection.execute(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1").fetchall()  # type: ignore[arg-type]
            return list(rows)


async def test_a39_whatever_sets_something_is_refused_to_who_is_not_signed_in_and_does_nothing(
    stack: Stack, admin: Person, person: Person, identity_databases: dict[str, tuple[str, str]]
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in_in_full()
    path, confirm = await confirming(person)
    started = (await person.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})).json()
    texted = {"code": stack.notifier.code_to(PHONE)}
    user = f"/v1/users/{person.id}"
    whose = {"user_id": person.id, "email": person.email}
    session = (await person.call("GET", "/v1/session")).json()["id"]
    settings: list[tuple[str, str, Any]] = [
        ("PATCH", "/v1/me", {"name": "Someone Else", "phone": PHONE}),
        ("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
        ("POST", "/v1/me/phone", {"phone": PHONE}),
        ("POST", "/v1/me/phone/confirm", texted),
        ("GET", "/v1/me/two-factor", None),
        ("POST", "/v1/me/two-factor/totp", None),
        ("POST", path, confirm),
        ("POST", "/v1/me/two-factor/sms", {"phone": PHONE}),
        ("POST", f"/v1/me/two-factor/sms/{started['enrolment_id']}/confirm", texted),
        ("DELETE", "/v1/me/two-factor/totp", None),
        ("POST", "/v1/me/two-factor/backup-codes", None),
        ("DELETE", f"/v1/me/sessions/{session}", None),
        ("POST", "/v1/session/second-factor", {"method": "totp", "code": person.code()}),
        ("PUT", "/v1/device/shared", None),
        ("PATCH", "/v1/clinic", {"name": "Another Clinic"}),
        ("PATCH", "/v1/clinic/security", {"require_two_factor": True}),
        ("PUT", "/v1/clinic/integrations/insurer", {"requires_two_factor": True}),
        ("POST", "/v1/users", {"email": "new@harbour.example", "name": "New", "role": "admin"}),
        ("PATCH", user, {"email": "other@harbour.example"}),
        ("POST", f"{user}/password-reset", None),
        ("DELETE", f"{user}/sessions", None),
        ("PUT", f"{user}/two-factor/requirement", {"requirement": "exempt", "reason": "None."}),
        ("POST", f"{user}/two-factor/bypass", {"reason": "Lost the phone."}),
    ]
    declared = {
        (method, route.path)
        for route in stack.app.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema and not isinstance(declaration_of(route), Public)
        for method in route.methods or ()
    }
    shapes = {(method, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", shape))) for method, shape in declared}
    kept = Kept(stack, identity_databases)
    before = kept.now()
    for method, where, body in settings:
        assert any(method == one and shape.fullmatch(where) for one, shape in shapes), f"{method} {where} is no route"
        for token in ("", "no-such-token", person.id, session):
            for sent in (body, {**body, **whose} if isinstance(body, dict) else body):
                refused = await stack.call(method, where, sent, token=token)
                assert (refused.status_code, slug_of(refused)) == (401, "unauthenticated"), (method, where)
    assert kept.now() == before
    # It was the session that was missing, and nothing else.
    done = await person.call("POST", path, confirm)
    assert done.status_code == 200, done.text


async def test_a39_no_page_sets_anything_for_who_is_not_signed_in(
    stack: Stack, person: Person, identity_databases: dict[str, tuple[str, str]]
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    forms = [
        re.sub(r"\{user_id[^}]*\}", person.id, route.path)
        for route in stack.app.router.routes
        if isinstance(route, APIRoute) and not route.include_in_schema and "POST" in (route.methods or ())
    ]
    assert len(forms) >= 10
    fields = {"name": "Someone Else", "phone": PHONE, "current_password": PASSWORD, "new_password": NEW_PASSWORD}
    fields |= {"method": "totp", "code": person.code(), "user_id": person.id}
    kept = Kept(stack, identity_databases)
    before = kept.now()
    async with stack.client(Origin=stack.settings.public_origin) as http:
        for form in forms:
            path = re.sub(r"\{[^}]+\}", "none", form)
            answer = await http.post(path, data={**fields, "csrf": "made-up"})
            assert not answer.is_success, path
            assert answer.status_code < 500, path
    assert kept.now() == before
