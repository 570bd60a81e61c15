"""The clinic's rule against live sessions, and policy or otp away (P9, P10, A30, A31, A33, A34)."""

from datetime import datetime, timedelta

import pytest

from services.identity import standing
from services.identity.model import ClinicId, Method, Scope
from tests.identity.people import Person, SomeClinic, Stack, slug_of


async def test_p09_the_switch_stops_unproven_sessions_and_lets_proven_ones_alone(clinic: SomeClinic) -> None:
    unproven, proven = await clinic.person(), await clinic.person()
    opened = await unproven.sign_in()
    await proven.sign_in()
    await proven.enrol_totp()
    assert await unproven.state() == "active"
    await clinic.require(phone_required=False)  # on another replica
    assert await unproven.state() == "active"  # for two seconds at most
    clinic.stack.clock.advance(timedelta(seconds=2))
    stopped = await unproven.call("GET", "/v1/me/sessions")
    assert (stopped.status_code, slug_of(stopped)) == (403, "enrolment-required")
    assert stopped.json()["methods"] == ["totp", "sms"]
    assert stopped.json()["phone_required"] is False
    assert stopped.json()["reason"]["sentence"]
    assert {rule["rule"] for rule in stopped.json()["reason"]["rules"]} >= {"clinic_rule"}
    session = (await unproven.call("GET", "/v1/session")).json()
    assert session["state"] == "enrolment_required"
    assert session["enrolment"] == {"methods": ["totp", "sms"], "phone_required": False}
    assert session["methods"] == []
    assert (await proven.call("GET", "/v1/me/sessions")).status_code == 200
    enrolled = await unproven.enrol_totp()
    assert enrolled["session"]["id"] == opened["id"]
    assert await unproven.state() == "active"


async def test_p09_a_change_made_here_is_seen_at_once(clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    assert (await person.call("GET", "/v1/me")).status_code == 200
    await clinic.require_here()
    assert await person.state() == "enrolment_required"
    await clinic.require_here(require_two_factor=False)
    assert await person.state() == "active"
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200


async def test_who_had_to_enrol_at_sign_in_is_active_when_the_rule_goes(clinic: SomeClinic) -> None:
    await clinic.require_here()
    person = await clinic.person()
    opened = await person.sign_in()
    assert opened["state"] == "enrolment_required"
    await clinic.require_here(require_two_factor=False)
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    clinic.stack.clock.advance(timedelta(minutes=29))
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    clinic.stack.clock.advance(timedelta(minutes=29))
    assert await person.state() == "active"  # it has idle time now, not the thirty minutes of waiting


@pytest.mark.parametrize("asks", ["view", "introspect"])
async def test_whoever_is_found_active_is_shown_an_active_sessions_ends_at_once(clinic: SomeClinic, asks: str) -> None:
    await clinic.require_here()
    person, clock = await clinic.person(), clinic.stack.clock
    await person.sign_in()
    clock.advance(timedelta(minutes=10))
    await clinic.require_here(require_two_factor=False)
    if asks == "view":
        shown = (await person.call("GET", "/v1/session")).json()
    else:
        _, key = await clinic.stack.gateway.apps.create(clinic.slug, "ledger", [Scope.SESSIONS_READ])
        shown = (await clinic.stack.call("POST", "/v1/sessions/introspect", {"token": person.token}, token=key)).json()
    assert shown["state"] == "active"
    ends = [datetime.fromisoformat(shown[name]) - clock.now() for name in ("expires_at", "idle_expires_at")]
    assert ends == [timedelta(hours=12) - timedelta(minutes=10), timedelta(minutes=30)]
    assert (await person.call("GET", "/v1/session")).json()["expires_at"] == shown["expires_at"]


async def test_a_factor_added_makes_the_other_unproven_sessions_wait_for_a_code(person: Person) -> None:
    other = await person.sign_in()
    waiting = person.token
    await person.sign_in()
    await person.enrol_totp()
    refused = await person.stack.call("GET", "/v1/me", token=waiting)
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    proven = await person.prove(token=waiting)
    assert proven.json()["id"] == other["id"]
    assert proven.json()["state"] == "active"


async def test_a33_a_factor_added_on_another_replica_counts_at_once_where_it_matters(person: Person) -> None:
    elsewhere = await person.stack.another_app()
    await person.sign_in()
    other = person.token
    assert (await elsewhere.call("GET", "/v1/me", token=other)).status_code == 200  # remembered there
    await person.sign_in()
    await person.enrol_totp()
    refused = await elsewhere.call("POST", "/v1/me/two-factor/totp", token=other)
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")


async def test_a30_starting_again_leaves_an_enrolling_session_enrolling(clinic: SomeClinic) -> None:
    await clinic.require_here(phone_required=False)
    person = await clinic.person()
    await person.sign_in()
    first = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    again = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    assert (first["enrolment_id"], first["secret"]) == (again["enrolment_id"], again["secret"])
    assert await person.state() == "enrolment_required"
    wrong = await person.call("POST", f"/v1/me/two-factor/totp/{first['enrolment_id']}/confirm", {"code": "000000"})
    assert (wrong.status_code, slug_of(wrong)) == (422, "invalid-code")
    assert await person.state() == "enrolment_required"


async def test_a31_a_password_session_cannot_add_a_factor_beside_one_that_is_there(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    for path in ("/v1/me/two-factor/totp", "/v1/me/two-factor/sms"):
        refused = await person.call("POST", path)
        assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")


async def test_methods_narrowed_while_a_sign_in_waits_for_its_code_count_at_the_proof(
    clinic: SomeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_PROOF_WAITS_SECONDS", 20.0)
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    live = person.token
    await person.sign_in()
    await clinic.require_here(methods=(Method.SMS,), phone_required=False)
    led = (await person.prove()).json()
    assert (led["state"], led["enrolment"]["methods"]) == ("enrolment_required", ["sms"])
    assert (await person.stack.call("GET", "/v1/me", token=live)).status_code == 200  # proven before: goes on
    clinic.stack.clock.advance(timedelta(seconds=30))
    stepped_up = await person.prove(token=live)
    assert stepped_up.json()["state"] == "active"
    # And the other way round: what was disallowed at the sign-in is allowed again.
    await person.sign_in()
    await clinic.require_here(methods=(Method.TOTP, Method.SMS))
    clinic.stack.clock.advance(timedelta(seconds=30))
    assert (await person.prove()).json()["state"] == "active"


async def test_the_methods_of_the_sign_in_count_where_policy_is_away_at_the_proof(
    stack: Stack, clinic: SomeClinic
) -> None:
    kept, narrowed = await clinic.person(), await clinic.person()
    for person in (kept, narrowed):
        await person.sign_in()
        await person.enrol_totp()
    await kept.sign_in()
    await clinic.require_here(methods=(Method.SMS,), phone_required=False)
    await narrowed.sign_in()
    await stack.stop_policy()
    stack.gateway.standings.forget_clinic(ClinicId(clinic.id))
    assert (await kept.prove()).json()["state"] == "active"
    assert (await narrowed.prove()).json()["state"] != "active"


async def test_narrowed_methods_lead_the_next_sign_in_to_an_allowed_factor(stack: Stack, clinic: SomeClinic) -> None:
    person = await clinic.person(phone="+447700900123")
    await person.sign_in()
    await person.enrol_totp()
    live = person.token
    await clinic.require_here(methods=("sms",))
    assert (await stack.call("GET", "/v1/me", token=live)).status_code == 200  # proven sessions go on
    assert (await person.sign_in())["state"] == "second_factor_required"
    proven = (await person.prove()).json()
    assert proven["state"] == "enrolment_required"
    assert proven["enrolment"]["methods"] == ["sms"]
    assert proven["acr"] == "aal2"
    person.token = proven["token"]
    refused = await person.call("GET", "/v1/me/sessions")
    assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
    started = await person.call("POST", "/v1/me/two-factor/sms")
    assert started.status_code == 202, started.text
    path = f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm"
    confirmed = await person.call("POST", path, {"code": stack.notifier.code_to("+447700900123")})
    assert confirmed.status_code == 200, confirmed.text
    assert [factor["method"] for factor in confirmed.json()["two_factor"]["factors"]] == ["sms"]
    assert confirmed.json()["session"]["state"] == "active"
    ended = await stack.call("GET", "/v1/session", token=live)
    assert ended.json()["cause"] == "ended"


async def test_p10_p20_while_policy_is_away_nobody_gets_further_than_proven(stack: Stack, clinic: SomeClinic) -> None:
    unproven, proven, pending = await clinic.person(), await clinic.person(), await clinic.person()
    await unproven.sign_in()
    for one in (proven, pending):
        await one.sign_in()
        await one.enrol_totp()
    await pending.sign_in()
    await stack.stop_policy()
    stack.clock.advance(timedelta(seconds=2))
    assert (await proven.call("GET", "/v1/me/sessions")).status_code == 200
    for path in ("/v1/me", "/v1/me/sessions", "/v1/me/two-factor"):
        refused = await unproven.call("GET", path)
        assert (refused.status_code, slug_of(refused)) == (503, "unavailable")
        assert refused.headers["retry-after"] == str(refused.json()["retry_after"])
        assert (await pending.call("GET", path)).status_code == 503
    shown = (await unproven.call("GET", "/v1/session")).json()
    assert shown["state"] == "second_factor_required"  # not enrolment: an outage leads nobody there
    assert "enrolment" not in shown
    assert shown["methods"] == []  # and the sentence is of the disturbance, not of a code
    assert shown["reason"]["sentence"] == (
        "We cannot check right now whether a code is asked of you. Please try again in a moment."
    )
    page = await stack.call("GET", "/code", Cookie=f"countersign={unproven.token}", Accept="text/html")
    assert "We cannot check right now whether a code is asked of you." in page.text
    assert 'name="code"' not in page.text
    assert (await unproven.call("DELETE", "/v1/session")).status_code == 204
    without = await unproven.try_sign_in()
    assert (without.status_code, slug_of(without)) == (503, "unavailable")
    assert "token" not in without.text
    with_factor = await proven.try_sign_in()
    assert with_factor.status_code == 201
    assert with_factor.json()["state"] == "second_factor_required"
    assert (await pending.prove()).json()["state"] == "active"
    starting = await proven.call("POST", "/v1/me/two-factor/totp")
    assert starting.status_code in (401, 503)


async def test_p10_p20_a34_while_otp_is_away_nobody_without_a_proof_gets_anywhere(
    stack: Stack, clinic: SomeClinic
) -> None:
    unproven, proven = await clinic.person(), await clinic.person()
    await unproven.sign_in()
    await proven.sign_in()
    await proven.enrol_totp()
    live = proven.token
    await proven.sign_in()
    await stack.stop_otp()
    stack.clock.advance(timedelta(seconds=2))
    assert (await stack.call("GET", "/v1/me/sessions", token=live)).status_code == 200
    assert (await stack.call("GET", "/v1/session", token=live)).json()["state"] == "active"
    assert (await unproven.call("GET", "/v1/me")).status_code == 503
    assert (await unproven.call("GET", "/v1/session")).json()["state"] == "second_factor_required"
    proving = await proven.prove()
    assert (proving.status_code, slug_of(proving)) == (503, "unavailable")
    for one in (unproven, proven):
        refused = await one.try_sign_in()
        assert (refused.status_code, slug_of(refused)) == (503, "unavailable")
