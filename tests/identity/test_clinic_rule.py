"""Every field of the clinic's rule, its date, and what integrations demand beside it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.identity.people import Person, SomeClinic, Stack, slug_of

RULE = "/v1/clinic/security"
HOLDS = "/v1/clinic/integrations"


async def test_every_field_is_kept_and_on_record(admin: Person) -> None:
    change: dict[str, Any] = {
        "methods": ["totp"],
        "phone_required": False,
        "remember_device_days": 90,
        "idle_minutes": 5,
        "sms_countries": ["IE", "GB", "IE"],
        "sms_daily_cap": 0,
    }
    changed = await admin.call("PATCH", RULE, change)
    assert changed.status_code == 200, changed.text
    kept = {**change, "sms_countries": ["IE", "GB"]}
    assert changed.json().items() >= kept.items()
    again = await admin.call("GET", RULE)
    assert again.json() == changed.json()
    assert again.headers["etag"] == changed.headers["etag"] == f'"{changed.json()["version"]}"'
    most = {"remember_device_days": 0, "idle_minutes": 60, "sms_daily_cap": 100_000}
    assert (await admin.call("PATCH", RULE, most)).json().items() >= most.items()


async def test_the_idle_minutes_reach_sessions_that_live(admin: Person, clinic: SomeClinic) -> None:
    proven, plain = await clinic.person(), await clinic.person()
    for person in (proven, plain):
        await person.sign_in()
    await proven.enrol_totp()
    elsewhere = await (await admin.stack.make_clinic()).person()
    await elsewhere.sign_in()
    other_replica = await admin.stack.another_app()
    assert (await admin.call("PATCH", RULE, {"idle_minutes": 5})).status_code == 200
    for person in (proven, plain):
        for stack in (admin.stack, other_replica):
            session = (await stack.call("GET", "/v1/session", token=person.token)).json()
            seen = (await stack.call("GET", "/v1/me/sessions", token=person.token)).status_code
            assert seen == 200
        ends = datetime.fromisoformat(session["idle_expires_at"])
        assert ends <= admin.stack.clock.now() + timedelta(minutes=5), session
    admin.stack.clock.advance(timedelta(minutes=5))
    for person in (proven, plain, admin):
        refused = await person.call("GET", "/v1/session")
        assert (refused.status_code, refused.json()["cause"]) == (401, "idle")
    assert await elsewhere.state() == "active", "another clinic's sessions keep their own time"


async def test_longer_idle_minutes_reach_sessions_that_live_too(admin: Person) -> None:
    assert (await admin.call("PATCH", RULE, {"idle_minutes": 60})).status_code == 200
    admin.stack.clock.advance(timedelta(minutes=59))
    assert (await admin.call("GET", RULE)).status_code == 200


async def test_p09_a_scheduled_rule_stops_live_sessions_when_its_time_comes(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    start = admin.stack.clock.now() + timedelta(minutes=2)
    written = (start + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S+01:00")
    changed = await admin.call("PATCH", RULE, {"enforce_from": written})
    assert changed.status_code == 200, changed.text
    body = changed.json()
    assert (body["require_two_factor"], datetime.fromisoformat(body["enforce_from"])) == (
        False,
        start.replace(microsecond=0),
    )
    assert await person.state() == "active"
    admin.stack.clock.advance(timedelta(minutes=1))
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    admin.stack.clock.advance(timedelta(minutes=1))
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
    assert (await admin.call("GET", RULE)).json()["require_two_factor"] is True, "shown on once it is in force"
    off = await admin.call("PATCH", RULE, {"require_two_factor": False})
    assert (off.status_code, off.json()["require_two_factor"], off.json()["enforce_from"]) == (200, False, None)
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200


async def test_a_date_is_taken_back(admin: Person) -> None:
    date = (admin.stack.clock.now() + timedelta(days=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for cancel in ({"enforce_from": None}, {"require_two_factor": False}):
        planned = await admin.call("PATCH", RULE, {"require_two_factor": True, "enforce_from": date})
        assert (planned.json()["require_two_factor"], planned.json()["enforce_from"]) == (False, date)
        back = (await admin.call("PATCH", RULE, cancel)).json()
        assert (back["require_two_factor"], back["enforce_from"]) == (False, None)
    now = (await admin.call("PATCH", RULE, {"require_two_factor": True})).json()
    assert (now["require_two_factor"], now["enforce_from"]) == (True, None)


async def test_without_a_factor_nobody_sets_a_date_or_takes_one_back(admin: Person, clinic: SomeClinic) -> None:
    bare = await clinic.person("admin")
    await bare.sign_in()
    date = (admin.stack.clock.now() + timedelta(days=3)).isoformat()
    refused = await bare.call("PATCH", RULE, {"enforce_from": date})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert (await admin.call("PATCH", RULE, {"enforce_from": date})).status_code == 200
    for cancel in ({"enforce_from": None}, {"require_two_factor": False}, {"require_two_factor": True}):
        refused = await bare.call("PATCH", RULE, cancel)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), cancel


async def test_under_a_hold_the_rule_is_not_turned_off_and_the_holders_are_named(
    admin: Person, clinic: SomeClinic
) -> None:
    person = await clinic.person()
    await person.sign_in()
    assert (await admin.call("PATCH", RULE, {"require_two_factor": True})).status_code == 200
    set_ = await admin.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": True, "max_device_trust_hours": 12})
    assert set_.status_code == 200, set_.text
    hold = set_.json()
    assert hold.items() >= {"name": "ledger", "requires_two_factor": True, "max_device_trust_hours": 12}.items()
    assert hold["set_by"] == {"kind": "user", "id": admin.id}
    assert (await admin.call("GET", HOLDS)).json() == {"integrations": [hold]}
    assert (await admin.call("GET", RULE)).json()["holds"] == [hold]
    later = (admin.stack.clock.now() + timedelta(days=1)).isoformat()
    for change in ({"require_two_factor": False}, {"enforce_from": later}):
        refused = await admin.call("PATCH", RULE, change)
        assert (refused.status_code, slug_of(refused)) == (409, "required-by-policy"), change
        assert refused.json()["holders"] == ["ledger"]
        assert "ledger" in refused.json()["reason"]["sentence"]
    previewed = await admin.call("POST", f"{RULE}/preview", {"require_two_factor": False})
    assert (previewed.status_code, slug_of(previewed)) == (409, "required-by-policy")
    assert (await admin.call("PATCH", RULE, {"idle_minutes": 10})).status_code == 200
    assert (await admin.call("DELETE", f"{HOLDS}/ledger")).status_code == 204
    assert (await admin.call("PATCH", RULE, {"require_two_factor": False})).status_code == 200
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200


async def test_p09_a_hold_stops_unproven_sessions_at_their_next_request(admin: Person, clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    assert await person.state() == "active"
    assert (await admin.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": True})).status_code == 200
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
    assert (await admin.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": False})).status_code == 200
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200


async def test_without_a_factor_nobody_loosens_a_hold(admin: Person, clinic: SomeClinic) -> None:
    bare = await clinic.person("admin")
    await bare.sign_in()
    softer = {"requires_two_factor": False, "max_device_trust_hours": 10}
    assert (await bare.call("PUT", f"{HOLDS}/ledger", softer)).status_code == 200
    for change in ({"requires_two_factor": False}, {"requires_two_factor": False, "max_device_trust_hours": 11}):
        refused = await bare.call("PUT", f"{HOLDS}/ledger", change)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    refused = await bare.call("DELETE", f"{HOLDS}/ledger")
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    tighter = await bare.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": False, "max_device_trust_hours": 0})
    assert tighter.status_code == 200
    assert (await admin.call("DELETE", f"{HOLDS}/ledger")).status_code == 204
    refused = await admin.call("DELETE", f"{HOLDS}/ledger")
    assert (refused.status_code, slug_of(refused)) == (404, "not-found")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Ledger", {"requires_two_factor": True}),
        ("-ledger", {"requires_two_factor": True}),
        ("l" * 64, {"requires_two_factor": True}),
        ("ledger", {}),
        ("ledger", {"requires_two_factor": None}),
        ("ledger", {"requires_two_factor": "yes"}),
        ("ledger", {"requires_two_factor": True, "max_device_trust_hours": -1}),
        ("ledger", {"requires_two_factor": True, "max_device_trust_hours": 2161}),
        ("ledger", {"requires_two_factor": True, "name": "other"}),
    ],
    ids=repr,
)
async def test_a_hold_that_makes_no_sense_is_refused(admin: Person, name: str, body: dict[str, Any]) -> None:
    refused = await admin.call("PUT", f"{HOLDS}/{name}", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert (await admin.call("GET", HOLDS)).json() == {"integrations": []}


async def test_a65_another_clinics_holds_do_not_exist_here(admin: Person, stack: Stack) -> None:
    other = await (await stack.make_clinic()).person("admin")
    await other.sign_in()
    assert (await other.call("PUT", f"{HOLDS}/ledger", {"requires_two_factor": False})).status_code == 200
    assert (await admin.call("GET", HOLDS)).json() == {"integrations": []}
    refused = await admin.call("DELETE", f"{HOLDS}/ledger")
    assert (refused.status_code, slug_of(refused)) == (404, "not-found")
    assert [hold["name"] for hold in (await other.call("GET", HOLDS)).json()["integrations"]] == ["ledger"]


async def test_of_two_administrators_who_turn_the_rule_at_once_one_is_told(admin: Person, clinic: SomeClinic) -> None:
    other = await clinic.person("admin")
    await other.sign_in()
    await other.enrol_totp()
    seen = await admin.call("GET", RULE)
    date = (admin.stack.clock.now() + timedelta(days=1)).isoformat()
    answers = await asyncio.gather(
        admin.call("PATCH", RULE, {"require_two_factor": True}, **{"If-Match": seen.headers["etag"]}),
        other.call("PATCH", RULE, {"enforce_from": date}, **{"If-Match": seen.headers["etag"]}),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert (slug_of(loser), loser.json()["version"]) == ("conflict", seen.json()["version"] + 1)
