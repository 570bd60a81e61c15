"""Signing in with a password, and with a second factor after it."""

from datetime import datetime, timedelta

from services.identity.policy_words import (
    ScheduleChange,
)
from tests.identity.people import Person, SomeClinic, slug_of


async def test_a_password_alone_is_enough_where_nothing_asks_for_more(person: Person) -> None:
    body = await person.sign_in()
    assert body["state"] == "active"
    assert body["amr"] == ["pwd"]
    assert body["acr"] == "aal1"
    assert body["verified_at"] is None
    assert (await person.call("GET", "/v1/me")).json()["email"] == person.email


async def test_whoever_has_a_factor_is_asked_for_it_and_gets_a_new_token(person: Person) -> None:
    await person.sign_in()
    enrolled = await person.enrol_totp()
    assert len(enrolled["backup_codes"]) == 10
    assert enrolled["session"]["acr"] == "aal2"
    body = await person.sign_in()
    assert body["state"] == "second_factor_required"
    assert body["methods"] == ["totp", "backup_code"]
    waiting = person.token
    refused = await person.call("GET", "/v1/me")
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    assert refused.json()["methods"] == ["totp", "backup_code"]
    proven = (await person.prove()).json()
    assert proven["state"] == "active"
    assert proven["amr"] == ["pwd", "otp", "mfa"]
    assert proven["id"] == body["id"]
    person.token = proven["token"]
    assert (await person.call("GET", "/v1/me")).status_code == 200
    old = await person.stack.call("GET", "/v1/me", token=waiting)
    assert (old.status_code, slug_of(old), old.json()["cause"]) == (401, "unauthenticated", "replaced")


async def test_whom_a_coming_rule_will_stop_is_told_so_and_nobody_else(clinic: SomeClinic) -> None:
    starts = clinic.stack.clock.now() + timedelta(days=3)
    unproven, enrolled = await clinic.person(), await clinic.person()
    await enrolled.sign_in()
    await enrolled.enrol_totp()
    assert "upcoming" not in await unproven.sign_in()
    await clinic.require_here(require_two_factor=None, schedule=ScheduleChange(starts))
    session = await unproven.sign_in()
    assert session["state"] == "active"
    assert datetime.fromisoformat(session["upcoming"]["enforce_from"]) == starts
    assert "Harbour Clinic" in session["upcoming"]["sentence"]
    assert (await unproven.call("GET", "/v1/session")).json()["upcoming"] == session["upcoming"]
    assert "upcoming" not in (await enrolled.call("GET", "/v1/session")).json()
    assert "upcoming" not in await enrolled.sign_in()
    clinic.stack.clock.advance(timedelta(days=3))
    session = await unproven.sign_in()
    assert session["state"] == "enrolment_required"
    assert "upcoming" not in session


async def test_r6_where_the_number_is_lifted_enrolment_does_not_ask_for_it(clinic: SomeClinic) -> None:
    admin, person = await clinic.person("admin"), await clinic.person()
    await admin.sign_in()
    await admin.enrol_totp()
    await clinic.require_here()
    session = await person.sign_in()
    assert session["enrolment"]["phone_required"] is True
    refused = await person.call("POST", "/v1/me/two-factor/totp")
    assert (refused.status_code, slug_of(refused), refused.json()["phone_required"]) == (
        403,
        "enrolment-required",
        True,
    )
    body = {"phone_required": False, "reason": "No mobile phone at work."}
    lifted = await admin.call("PUT", f"/v1/users/{person.id}/two-factor/requirement", body)
    assert lifted.status_code == 200, lifted.text
    assert (await person.call("GET", "/v1/session")).json()["enrolment"]["phone_required"] is False
    assert (await person.enrol_totp())["session"]["state"] == "active"
