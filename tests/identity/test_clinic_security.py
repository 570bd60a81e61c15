"""The clinic's rule of two-factor authentication, as its administrators read and change it."""

import asyncio
from datetime import timedelta

import pytest

from services.identity.model import Method
from services.identity.policy_words import ScheduleChange
from tests.identity.people import Person, SomeClinic, slug_of

RULE = "/v1/clinic/security"


async def test_a_new_clinic_has_the_mild_rule(admin: Person) -> None:
    response = await admin.call("GET", RULE)
    assert response.status_code == 200
    rule = response.json()
    assert response.headers["etag"] == f'"{rule["version"]}"'
    assert {name: rule[name] for name in rule if name not in ("version", "sms_daily_cap")} == {
        "require_two_factor": False,
        "enforce_from": None,
        "methods": ["totp", "sms"],
        "phone_required": True,
        "remember_device_days": 0,
        "idle_minutes": 30,
        "sms_countries": ["GB"],
        "holds": [],
    }


async def test_p09_the_rule_stops_every_unproven_session_at_its_next_request(admin: Person, clinic: SomeClinic) -> None:
    proven = await clinic.person()
    await proven.sign_in()
    await proven.enrol_totp()
    people = [await clinic.person() for _ in range(8)]
    for person in people:
        await person.sign_in()
        assert await person.state() == "active"
    changed = await admin.call("PATCH", RULE, {"require_two_factor": True})
    assert changed.status_code == 200
    answers = await asyncio.gather(*(person.call("GET", "/v1/me/sessions") for person in people))
    assert {slug_of(answer) for answer in answers} == {"enrolment-required"}
    assert answers[0].json()["phone_required"] is True
    assert "Harbour Clinic" in answers[0].json()["reason"]["sentence"]
    assert (await proven.call("GET", "/v1/me/sessions")).status_code == 200

    before = (await people[0].call("GET", "/v1/session")).json()
    await people[0].call("PATCH", "/v1/me", {"phone": "+447700900123"})
    enrolled = await people[0].enrol_totp()
    assert (enrolled["session"]["id"], enrolled["session"]["state"]) == (before["id"], "active")

    admin.stack.clock.advance(timedelta(minutes=2))
    assert (await admin.call("PATCH", RULE, {"require_two_factor": False})).status_code == 200
    again = await people[1].call("GET", "/v1/me/sessions")
    assert again.status_code == 200, "rule off: whoever was stopped goes on"


async def test_a_change_says_what_it_was_made_from_or_is_refused_with_the_version_of_now(admin: Person) -> None:
    first = await admin.call("GET", RULE)
    changed = await admin.call("PATCH", RULE, {"phone_required": False}, **{"If-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["phone_required"]) == (200, False)
    assert changed.headers["etag"] == f'"{first.json()["version"] + 1}"'
    for stale in (
        first.headers["etag"],
        f"W/{changed.headers['etag']}",
        '"another"',
        "nonsense",
        '"99999999999999999999"',
    ):
        refused = await admin.call("PATCH", RULE, {"phone_required": True}, **{"If-Match": stale})
        assert (refused.status_code, slug_of(refused)) == (409, "conflict")
        assert refused.json()["version"] == changed.json()["version"]
    for good in ("*", f'"1000", {changed.headers["etag"]}'):
        assert (await admin.call("PATCH", RULE, {"phone_required": False}, **{"If-Match": good})).status_code == 200
    assert (await admin.call("GET", RULE)).headers["etag"] == changed.headers["etag"], "what changes nothing counts not"


async def test_of_two_administrators_who_change_the_same_version_one_is_told(admin: Person, clinic: SomeClinic) -> None:
    other = await clinic.person("admin")
    await other.sign_in()
    await other.enrol_totp()
    admin.stack.clock.advance(timedelta(minutes=-1))
    for _ in range(5):
        seen = await admin.call("GET", RULE)
        changes = [{"methods": ["totp"], "phone_required": False}, {"methods": ["sms"], "phone_required": True}]
        answers = await asyncio.gather(
            *(
                who.call("PATCH", RULE, change, **{"If-Match": seen.headers["etag"]})
                for who, change in zip((admin, other), changes, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        winner = next(answer for answer in answers if answer.status_code == 200).json()
        assert (await admin.call("GET", RULE)).json() == winner
        assert (await admin.call("PATCH", RULE, {"methods": ["totp", "sms"]})).status_code == 200


async def test_an_administrator_without_a_factor_turns_the_rule_neither_on_nor_off(clinic: SomeClinic) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    refused = await admin.call("PATCH", RULE, {"require_two_factor": True})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert "yourself" in refused.json()["detail"]
    # Naming what is so already turns nothing.
    other = await admin.call("PATCH", RULE, {"require_two_factor": False, "phone_required": False})
    assert (other.status_code, other.json()["phone_required"]) == (200, False)


async def test_an_administrator_without_a_factor_loosens_nothing_of_a_rule_that_is_on_or_has_a_date(
    clinic: SomeClinic,
) -> None:
    exempt, fresh = await clinic.person("admin"), await clinic.person("admin")
    now = clinic.stack.clock.now()
    await exempt.sign_in()
    await fresh.sign_in()
    looser = [
        {"phone_required": False},
        {"methods": ["totp", "sms"]},
        {"methods": ["sms"]},
        {"remember_device_days": 1},
        {"idle_minutes": 31},
        {"sms_countries": ["GB", "IE"]},
        {"sms_countries": ["IE"]},
        {"sms_daily_cap": 100_000},
    ]
    tighter = {"idle_minutes": 10, "remember_device_days": 0, "sms_daily_cap": 5, "phone_required": True}
    date = ScheduleChange(now + timedelta(days=9))
    await clinic.require(require_two_factor=None, schedule=date, methods=(Method.TOTP,))
    for change in looser:
        refused = await fresh.call("PATCH", RULE, change)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict"), change
        assert "yourself first" in refused.json()["detail"]
    assert (await fresh.call("PATCH", RULE, tighter)).status_code == 200
    assert (await fresh.call("PATCH", RULE, {"idle_minutes": 10, "methods": ["totp"]})).status_code == 200

    await fresh.enrol_totp()
    for change in looser:
        assert (await fresh.call("PATCH", RULE, change)).status_code == 200, change
    body = {"requirement": "exempt", "reason": "Signs in at the reception's locked desk."}
    path = f"/v1/users/{exempt.id}/two-factor/requirement"
    assert (await fresh.call("PUT", path, body)).status_code == 200
    await fresh.call("PATCH", RULE, {"require_two_factor": True, "enforce_from": None, "remember_device_days": 0})
    refused = await exempt.call("PATCH", RULE, {"remember_device_days": 1})
    assert (refused.status_code, slug_of(refused)) == (409, "conflict")


async def test_p11_a_change_needs_a_fresh_proof(admin: Person) -> None:
    admin.stack.clock.advance(timedelta(minutes=6))
    assert (await admin.call("GET", RULE)).status_code == 200
    for method, path, body in (
        ("PATCH", RULE, {"require_two_factor": True}),
        ("PATCH", "/v1/clinic", {"name": "Quay Clinic"}),
        ("POST", "/v1/users", {"email": "new@harbour.example", "name": "New", "role": "admin"}),
        ("PATCH", f"/v1/users/{admin.id}", {"name": "Someone"}),
        ("POST", f"/v1/users/{admin.id}/password-reset", None),
        ("DELETE", f"/v1/users/{admin.id}/sessions", None),
    ):
        refused = await admin.call(method, path, body)
        assert (refused.status_code, slug_of(refused)) == (401, "step-up-required"), path
        assert refused.json()["max_age"] == 300
        assert "insufficient_user_authentication" in refused.headers["www-authenticate"]
    admin.token = (await admin.prove()).json()["token"]
    assert (await admin.call("PATCH", RULE, {"require_two_factor": True})).status_code == 200


@pytest.mark.parametrize("role", ["practitioner", "receptionist"])
async def test_only_administrators_see_or_change_the_clinic(clinic: SomeClinic, role: str) -> None:
    person = await clinic.person(role)
    await person.sign_in()
    for method, path, body in (
        ("GET", "/v1/clinic", None),
        ("GET", RULE, None),
        ("PATCH", "/v1/clinic", {"name": "Mine"}),
        ("PATCH", RULE, {"require_two_factor": True}),
    ):
        refused = await person.call(method, path, body)
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {"methods": []},
        {"methods": ["backup_code"]},
        {"methods": "totp"},
        {"methods": [["totp"]]},
        {"methods": None},
        {"require_two_factor": None},
        {"require_two_factor": "true"},
        {"require_two_factor": 1},
        {"phone_required": "no"},
        {"idle_minutes": 4},
        {"idle_minutes": 61},
        {"idle_minutes": "10"},
        {"idle_minutes": None},
        {"enforce_from": "2026-11-16T09:30:10Z"},
        {"enforce_from": "2030-01-01"},
        {"enforce_from": "2030-13-01T00:00:00Z"},
        {"enforce_from": "2030-01-01T00:00:00"},
        {"enforce_from": 1893456000},
        {"require_two_factor": True, "enforce_from": "2020-01-01T00:00:00Z"},
        {"remember_device_days": -1},
        {"remember_device_days": 91},
        {"remember_device_days": True},
        {"sms_countries": []},
        {"sms_countries": ["XX"]},
        {"sms_countries": ["de"]},
        {"sms_countries": "DE"},
        {"sms_daily_cap": -1},
        {"sms_daily_cap": 100_001},
        {"sms_daily_cap": 1.5},
        {"holds": []},
        {"version": 1},
        {"amr": ["mfa"]},
        [],
        "on",
        None,
    ],
    ids=repr,
)
async def test_a_change_that_makes_no_sense_is_refused(admin: Person, body: object) -> None:
    before = (await admin.call("GET", RULE)).json()
    async with admin.stack.client(Authorization=f"Bearer {admin.token}") as client:
        refused = await client.patch(RULE, json=body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert (await admin.call("GET", RULE)).json() == before


async def test_a_method_that_this_installation_cannot_do_is_no_choice(admin: Person) -> None:
    admin.stack.notifier.can_send_sms = False
    fresh = await admin.stack.another_app()
    refused = await fresh.call("PATCH", RULE, {"methods": ["totp", "sms"]}, token=admin.token)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert refused.json()["errors"][0]["field"] == "methods"
    assert (await fresh.call("PATCH", RULE, {"methods": ["totp"]}, token=admin.token)).status_code == 200


async def test_the_clinics_particulars_change_and_are_on_record(admin: Person, clinic: SomeClinic) -> None:
    change = {"name": "Quay Clinic", "timezone": "Europe/Berlin", "country": "DE", "locale": "de-DE"}
    changed = await admin.call("PATCH", "/v1/clinic", change)
    assert changed.status_code == 200
    assert changed.json().items() >= {**change, "slug": clinic.slug, "id": clinic.id}.items()
    assert (await admin.call("GET", "/v1/clinic")).json() == changed.json()
    rows = admin.stack.sql(
        "SELECT kind, actor_id, detail FROM audit_event WHERE clinic_id = %s AND kind = 'clinic.changed'", [clinic.id]
    )
    assert [(row["actor_id"], row["detail"]["name"]) for row in rows] == [(admin.id, ["Harbour Clinic", "Quay Clinic"])]


@pytest.mark.parametrize(
    "body",
    [
        {"timezone": "Europe/Atlantis"},
        {"timezone": "../etc/passwd"},
        {"country": "XX"},
        {"country": "de"},
        {"name": ""},
        {"name": " padded "},
        {"name": "two\nlines"},
        {"name": "a" * 101},
        {"name": None},
        {"locale": "english please"},
        {"slug": "mine"},
    ],
    ids=repr,
)
async def test_particulars_that_make_no_sense_are_refused(admin: Person, body: object) -> None:
    refused = await admin.call("PATCH", "/v1/clinic", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
