"""P18: changes and events go together. Every transaction that changes a record of identity, otp or policy writes an
event of it, no event stands alone, and where no event can be written there is no change.

The databases themselves say which transaction changed what: triggers note it, the services know nothing of them.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute

from deploy.embedded import EmbeddedPostgres
from tests.identity.people import PHONE, Json, Person, SomeClinic, Stack

SERVICES = ("identity", "otp", "policy")

NOTE_CHANGES = """
CREATE TABLE noted (seq bigint GENERATED ALWAYS AS IDENTITY, xid xid8, of text, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE columns text := '';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT string_agg(a.key, ' ' ORDER BY a.key) INTO columns
            FROM jsonb_each(to_jsonb(NEW)) a JOIN jsonb_each(to_jsonb(OLD)) b USING (key)
            WHERE a.value IS DISTINCT FROM b.value;
    ELSIF TG_TABLE_NAME = 'audit_event' THEN
        columns := NEW.kind;
    END IF;
    IF columns IS NOT NULL THEN
        INSERT INTO noted (xid, of, what) VALUES (pg_current_xact_id(), TG_TABLE_NAME, trim(TG_OP || ' ' || columns));
    END IF;
    RETURN NULL;
END $$;
"""

# What is no change of a record: who was seen when, which sessions a grant concerns (it is on policy's record), whether
# a reply was seen, how a message fares (the notifier's own trail tells), what a notice tells (its change is on record),
# rows past their time, and seals.
REPLY = {"reply_until", "reply_key_digest", "reply_old_digest", "reply_body_digest", "reply_device", "confirming_since"}
KEPT_UP = {
    "session": {"last_seen_at", "ends_bypass", *REPLY},
    "challenge": {"code_sealed", "delivery_id", "delivery_status"},
    "notice": {"phone", "email", "next_tell_at", "tries", "told_at", "dismissed_at"},
}
PASSING = {
    ("verdict", "DELETE"),
    ("replaced_token", "DELETE"),
    ("sealing_check", "INSERT"),
    ("audit_seal", "INSERT"),
    ("notice", "INSERT"),
    # What is to be followed up is written with its change; that it was is no change of anybody's.
    ("outbox", "DELETE"),
    ("settled_event", "INSERT"),
    (
        "number_mark",
        "INSERT",
    ),  # of the number on the account, which an event is about; one that is missing is made later
}
# Refused before any record was touched; the refusal itself is what the event tells. What was set up is otp's record; it
# is followed up here, where it may be that no session and no browser has to end.
ALONE = {"session.refused", "device.shared", "device.unshared", "factor.enrolled"}


def is_housekeeping(of: str, what: str) -> bool:
    operation, *columns = what.split()
    return (of, what) in PASSING or (operation == "UPDATE" and set(columns) <= KEPT_UP.get(of, set()))


class Noted:
    def __init__(self, postgres: EmbeddedPostgres, names: dict[str, str]) -> None:
        self._postgres = postgres
        self._names = names

    def sql(self, service: str, query: str) -> list[Any]:
        with self._postgres.connect(self._names[service]) as connection:
            cursor = connection.execute(query)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def begin(self) -> None:
        for service in SERVICES:
            self.sql(service, NOTE_CHANGES)
            tables = self.sql(service, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in tables:
                if table != "noted":
                    self.sql(
                        service,
                        f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table}"
                        " FOR EACH ROW EXECUTE FUNCTION note()",
                    )

    def end(self) -> None:
        for service in SERVICES:
            self.sql(service, "DROP FUNCTION IF EXISTS note CASCADE; DROP TABLE IF EXISTS noted")

    def transactions(self, service: str) -> list[tuple[set[tuple[str, str]], set[str]]]:
        """What each transaction changed, housekeeping apart, and the kinds of its events."""
        found: dict[int, tuple[set[tuple[str, str]], set[str]]] = {}
        for xid, of, what in self.sql(service, "SELECT xid, of, what FROM noted ORDER BY seq"):
            changes, kinds = found.setdefault(xid, (set(), set()))
            if of == "audit_event":
                kinds.add(what.removeprefix("INSERT "))
            elif not is_housekeeping(of, what):
                changes.add((of, what))
        return [one for one in found.values() if one[0] or one[1]]

    @contextmanager
    def without_events(self) -> Iterator[None]:
        """No service can write an event."""
        for service in SERVICES:
            self.sql(service, f"REVOKE INSERT ON audit_event FROM {service}; TRUNCATE noted")
        try:
            yield
        finally:
            for service in SERVICES:
                self.sql(service, f"GRANT INSERT ON audit_event TO {service}")


@pytest.fixture
def noted(postgres: EmbeddedPostgres, identity_databases: dict[str, tuple[str, str]]) -> Iterator[Noted]:
    names = {
        service: str(psycopg.conninfo.conninfo_to_dict(identity_databases[service][0])["dbname"])
        for service in SERVICES
    }
    made = Noted(postgres, names)
    made.begin()
    yield made
    made.end()


Call = Callable[[], Awaitable[Any]]


async def the_day_of_a_clinic(admin: Person, person: Person) -> None:
    """A bit of everything that changes a record."""
    await admin.sign_in()
    assert (await admin.try_sign_in(password="wrong wrong wrong")).status_code == 401
    await admin.enrol_totp()
    await admin.prove(admin.wrong_code())
    await admin.sign_in_in_full()
    await person.sign_in()
    done = [
        await admin.call("PATCH", "/v1/clinic", {"name": "Harbour Clinic West"}),
        await admin.call("PATCH", "/v1/clinic/security", {"require_two_factor": True}),
        await admin.call("PATCH", "/v1/me", {"name": "Ada Admin", "phone": PHONE}),
        await admin.call("POST", "/v1/me/two-factor/backup-codes", {}),
        await admin.call("POST", "/v1/me/phone", {"phone": PHONE}),
        await admin.call("PUT", "/v1/clinic/integrations/books", {"requires_two_factor": True}),
        await admin.call("PUT", "/v1/clinic/integrations/books", {"requires_two_factor": False}),
        await admin.call("DELETE", "/v1/clinic/integrations/books"),
        await admin.call("PUT", f"/v1/users/{person.id}/two-factor/requirement", {"requirement": "required"}),
        await admin.call("PATCH", f"/v1/users/{person.id}", {"name": "Mina Okafor-Lind"}),
        await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", {"reason": "lost phone"}),
        await admin.call("DELETE", f"/v1/users/{person.id}/two-factor/bypass"),
        await admin.call("DELETE", f"/v1/users/{person.id}/sessions"),
        await admin.call("PUT", "/v1/device/shared"),
    ]
    invited = await admin.call(
        "POST", "/v1/users", {"email": "new@harbour.example", "name": "New Nurse", "role": "receptionist"}
    )
    link = invited.json()["activation"]["token"]
    done += [
        invited,
        await admin.stack.call("POST", f"/v1/activations/{link}", {"password": "quiet amber ladder 7"}),
        await admin.call("POST", f"/v1/users/{person.id}/password-reset"),
    ]
    await person.sign_in()
    await person.enrol_totp()
    changed = await person.call(
        "PUT",
        "/v1/me/password",
        {"current_password": "tidal harbour gravel moon", "new_password": "quiet amber ladder 7"},
    )
    done.append(changed)
    person.token = changed.json()["token"]
    done.append(await person.call("DELETE", "/v1/session"))
    assert [response.text for response in done if not response.is_success] == []


async def test_p18_every_transaction_that_changes_a_record_writes_an_event_and_none_stands_alone(
    stack: Stack, clinic: SomeClinic, noted: Noted
) -> None:
    admin, person = await clinic.person("admin"), await clinic.person(phone=PHONE)
    for service in SERVICES:
        noted.sql(service, "TRUNCATE noted")  # what the tests' own making of people changed
    await the_day_of_a_clinic(admin, person)
    for service in SERVICES:
        transactions = noted.transactions(service)
        assert len(transactions) >= 5, service
        assert [changes for changes, kinds in transactions if changes and not kinds] == [], service
        alone = {kind for changes, kinds in transactions if not changes for kind in kinds}
        assert alone <= ALONE, service


async def test_p18_where_no_event_can_be_written_nothing_changes(
    stack: Stack, clinic: SomeClinic, noted: Noted
) -> None:
    admin, person = await clinic.person("admin"), await clinic.person()
    await admin.sign_in()
    await admin.enrol_totp()
    await admin.sign_in_in_full()
    await person.sign_in()
    with noted.without_events():
        calls: dict[str, Call] = {
            "sign in": person.try_sign_in,
            "wrong password": lambda: person.try_sign_in(password="wrong wrong wrong"),
            "right code": admin.prove,
            "wrong code": lambda: admin.prove(admin.wrong_code()),
            "enrol": lambda: person.call("POST", "/v1/me/two-factor/totp"),
            "name": lambda: person.call("PATCH", "/v1/me", {"name": "Mina"}),
            "clinic": lambda: admin.call("PATCH", "/v1/clinic", {"name": "West"}),
            "rule": lambda: admin.call("PATCH", "/v1/clinic/security", {"require_two_factor": True}),
            "hold": lambda: admin.call("PUT", "/v1/clinic/integrations/books", {"requires_two_factor": True}),
            "requirement": lambda: admin.call(
                "PUT", f"/v1/users/{person.id}/two-factor/requirement", {"requirement": "required"}
            ),
            "bypass": lambda: admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", {"reason": "lost"}),
            "invite": lambda: admin.call(
                "POST", "/v1/users", {"email": "n@harbour.example", "name": "New", "role": "receptionist"}
            ),
            "disable": lambda: admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": True}),
            "reset": lambda: admin.call("POST", f"/v1/users/{person.id}/password-reset"),
            "end": lambda: admin.call("DELETE", f"/v1/users/{person.id}/sessions"),
            "codes": lambda: admin.call("POST", "/v1/me/two-factor/backup-codes", {}),
            "sign out": lambda: person.call("DELETE", "/v1/session"),
        }
        statuses = {name: (await call()).status_code for name, call in calls.items()}
        assert {name for name, status in statuses.items() if status < 500} == set()
        for service in SERVICES:
            assert noted.transactions(service) == [], service
    assert await person.state() == "active"
    assert (await admin.call("GET", "/v1/me")).status_code == 200


# Of these each call makes or proves something anew, or is refused what is spent.
ANEW = {
    "POST /v1/activations/{token}",
    "POST /v1/me/phone",
    "POST /v1/me/two-factor/backup-codes",
    "POST /v1/me/two-factor/sms",
    "POST /v1/me/two-factor/sms/{enrolment_id}/confirm",
    "POST /v1/me/two-factor/totp",
    "POST /v1/me/two-factor/totp/{enrolment_id}/confirm",
    "POST /v1/session/second-factor",
    "POST /v1/session/second-factor/sms",
    "POST /v1/sessions",
    "POST /v1/users",
    "POST /v1/users/{user_id}/password-reset",
    "POST /v1/users/{user_id}/two-factor/bypass",
    "POST /v1/webhooks/twilio/status",
    "PUT /v1/me/password",
}


async def prove_number(person: Person) -> httpx.Response:
    """Once more the number that is on file."""
    person.stack.clock.advance(timedelta(minutes=1))
    assert (await person.call("POST", "/v1/me/phone", {"phone": PHONE})).status_code == 202
    return await person.call("POST", "/v1/me/phone/confirm", {"code": person.stack.notifier.code_to(PHONE)})


async def test_p18_what_is_said_twice_and_changes_nothing_the_second_time_is_on_record_once(
    stack: Stack, clinic: SomeClinic, noted: Noted
) -> None:
    admin, person = await clinic.person("admin"), await clinic.person(phone=PHONE)
    await person.sign_in()
    await admin.sign_in()
    await admin.enrol_totp()
    rule = {"remember_device_days": 7, "idle_minutes": 20, "methods": ["totp"], "require_two_factor": False}
    named = {"name": "Ada Lind", "email": "ada@harbour.example", "phone": "+447700900124", "role": "receptionist"}
    said: list[tuple[str, str, Json | None]] = [
        ("PATCH /v1/clinic", "", {"name": "Harbour Clinic West", "timezone": "Europe/Paris"}),
        ("PATCH /v1/clinic/security", "", rule),
        ("POST /v1/clinic/security/preview", "", rule),
        ("POST /v1/sessions/introspect", "", {"token": person.token}),
        ("PATCH /v1/me", "", {"name": "Ada Admin", "locale": "de-DE"}),
        ("PATCH /v1/me", "", {"phone": "+447700900125"}),
        ("PUT /v1/clinic/integrations/{name}", "books", {"requires_two_factor": True, "max_device_trust_hours": 4}),
        ("DELETE /v1/clinic/integrations/{name}", "books", None),
        ("PUT /v1/users/{user_id}/two-factor/requirement", person.id, {"requirement": "required"}),
        ("PUT /v1/users/{user_id}/two-factor/requirement", person.id, {"phone_required": False, "reason": "None."}),
        ("PATCH /v1/users/{user_id}", person.id, {}),
        ("PATCH /v1/users/{user_id}", person.id, named),
        ("DELETE /v1/users/{user_id}/two-factor/bypass", person.id, None),
        ("DELETE /v1/users/{user_id}/sessions", person.id, None),
        ("DELETE /v1/users/{user_id}/devices", person.id, None),
        ("PATCH /v1/users/{user_id}", person.id, {"disabled": True}),
        ("PATCH /v1/users/{user_id}", person.id, {"disabled": False}),
        ("DELETE /v1/me/devices/{device_id}", "dev_none", None),
        ("DELETE /v1/me/sessions/{session_id}", "ses_none", None),
        ("DELETE /v1/me/notices/{notice_id}", "ntc_none", None),
        ("PUT /v1/device/shared", "", None),
        ("DELETE /v1/device/shared", "", None),
        ("DELETE /v1/me/two-factor/{method}", "totp", None),
        ("DELETE /v1/session", "", None),
    ]
    covered = {route for route, _, _ in said} | {"POST /v1/me/phone/confirm"} | ANEW
    assert {name for name in mutating_routes(stack) if name not in covered} == set()

    async def twice(name: str, call: Call) -> None:
        await call()
        for service in SERVICES:
            noted.sql(service, "TRUNCATE noted")
        assert (await call()).status_code < 500, name
        for service in SERVICES:
            alone = {kind for changes, kinds in noted.transactions(service) if not changes for kind in kinds}
            assert alone <= ALONE, name

    await twice("proof of a number", lambda: prove_number(admin))
    for route, part, body in said:
        method, _, path = route.partition(" ")
        await twice(route, partial(admin.call, method, re.sub(r"\{[^}]+\}", part, path), body))


def mutating_routes(stack: Stack) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in stack.app.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods - {"GET", "HEAD"}
    }
