"""One sign-in without a code (R16): granted, used once, undone; factors of a stolen phone suspended."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.otp import backup_codes
from tests.identity.people import PASSWORD, PHONE, Json, Person, SomeClinic, Stack, slug_of


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def administrator(clinic: SomeClinic, *, with_factor: bool = True) -> Person:
    """Signed in, and for the next minutes freshly proven."""
    admin = await clinic.person(role="admin")
    await admin.sign_in()
    if with_factor:
        await admin.enrol_totp()
    return admin


async def enrolled(clinic: SomeClinic) -> Person:
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    return person


async def grant(admin: Person, person: Person, **more: Any) -> httpx.Response:
    body = {"reason": "Lost the phone on the train.", **more}
    return await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", body)


async def granted(admin: Person, person: Person, **more: Any) -> Json:
    response = await grant(admin, person, **more)
    assert response.status_code == 201, response.text
    body: Json = response.json()
    return body


async def revoke(admin: Person, person: Person) -> int:
    return (await admin.call("DELETE", f"/v1/users/{person.id}/two-factor/bypass")).status_code


async def step_up(admin: Person) -> None:
    admin.stack.clock.advance(timedelta(minutes=1))
    response = await admin.prove()
    assert response.status_code == 200, response.text
    admin.token = response.json()["token"]


async def rule_and_requirement(admin: Person, person: Person) -> tuple[bytes, Json]:
    rule = await admin.call("GET", "/v1/clinic/security")
    two_factor = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    return rule.content, {name: value for name, value in two_factor.items() if name.startswith("requirement")}


async def test_a46_a_bypass_opens_one_session_that_can_only_set_up_a_factor(clinic: SomeClinic) -> None:
    await clinic.require_here()
    admin, person = await administrator_with_phone(clinic), await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    old_secret, old_codes, live = person.secret, person.backup_codes, person.token
    before = await rule_and_requirement(admin, person)
    bypass = await granted(admin, person)
    assert (bypass["state"], bypass["note"], bypass["used_at"]) == ("unused", "Lost the phone on the train.", None)
    assert bypass["granted_by"]["id"] == admin.id
    session = await person.sign_in()
    assert (session["state"], session["amr"], session["acr"]) == ("enrolment_required", ["pwd"], "aal1")
    assert session["enrolment"] == {"methods": ["totp", "sms"], "phone_required": False}
    assert "let in" in session["reason"]["sentence"]
    for method, path in (("GET", "/v1/me/sessions"), ("GET", "/v1/me/devices"), ("PUT", "/v1/me/password")):
        refused = await person.call(method, path, {} if method == "PUT" else None)
        assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
    assert (await person.stack.call("GET", "/v1/me/sessions", token=live)).status_code == 200  # nothing has ended yet
    assert (await person.call("GET", "/v1/me")).json()["phone"] != PHONE  # masked
    again = await person.try_sign_in()
    assert again.json()["state"] == "second_factor_required"  # A46: once
    confirmed = await person.enrol_totp()
    assert confirmed["session"]["state"] == "active"
    assert confirmed["session"]["id"] == session["id"]
    assert len(confirmed["backup_codes"]) == 10
    assert (await person.stack.call("GET", "/v1/session", token=live)).json()["cause"] == "ended"
    waiting = again.json()["token"]
    assert (await person.stack.call("GET", "/v1/session", token=waiting)).status_code == 401
    await person.sign_in()
    new_secret, person.secret = person.secret, old_secret
    assert (await person.prove()).status_code == 422
    assert (await person.prove(old_codes[0], "backup_code")).status_code == 422
    person.secret = new_secret
    assert (await person.prove()).json()["state"] == "active"
    assert await rule_and_requirement(admin, person) == before


async def administrator_with_phone(clinic: SomeClinic) -> Person:
    admin = await clinic.person(role="admin", phone="+447700900124")
    await admin.sign_in()
    await admin.enrol_totp()
    return admin


@pytest.mark.parametrize("attempts", [100, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_p05_of_many_parallel_sign_ins_one_gets_the_bypass(clinic: SomeClinic, attempts: int) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    before = await rule_and_requirement(admin, person)
    await granted(admin, person)
    states: dict[str, int] = {}
    turn = asyncio.Semaphore(16)

    async def sign_in(number: int) -> None:
        async with turn:
            while (response := await person.try_sign_in(address=f"198.51.100.{number % 250}")).status_code == 503:
                await asyncio.sleep(0.05)
        state = response.json()["state"] if response.status_code == 201 else str(response.status_code)
        states[state] = states.get(state, 0) + 1

    await asyncio.gather(*(sign_in(number) for number in range(attempts)))
    assert states == {"enrolment_required": 1, "second_factor_required": attempts - 1}
    assert await rule_and_requirement(admin, person) == before
    rows = person.stack.sql(
        "SELECT count(*) AS n FROM session WHERE user_id = %s AND opened_by = 'bypass'", [person.id]
    )
    assert rows == [{"n": 1}]


async def test_a46_an_expired_revoked_or_foreign_bypass_opens_nothing(clinic: SomeClinic) -> None:
    admin, person, other = await administrator(clinic), await enrolled(clinic), await enrolled(clinic)
    await granted(admin, person, expires_in_minutes=1)
    assert (await other.sign_in())["state"] == "second_factor_required"  # another's
    person.stack.clock.advance(timedelta(minutes=1))
    assert (await person.sign_in())["state"] == "second_factor_required"  # expired
    assert await revoke(admin, person) == 404
    await granted(admin, person)
    assert await revoke(admin, person) == 204
    assert await revoke(admin, person) == 404
    assert (await person.sign_in())["state"] == "second_factor_required"  # revoked


async def test_a46_a_bypass_is_over_when_its_user_gets_in_another_way(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    waiting = (await person.sign_in())["token"]
    await granted(admin, person)
    proven = await person.prove(token=waiting)  # found it again
    assert proven.json()["state"] == "active"
    shown = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    assert "bypass" not in shown, "at once, not at the next sign-in"
    assert await revoke(admin, person) == 404
    assert (await person.sign_in())["state"] == "second_factor_required"


async def test_a46_a_bypass_is_over_when_a_factor_is_set_up_in_a_session_of_before(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await clinic.person()
    await person.sign_in()
    await granted(admin, person)
    await person.enrol_totp()
    assert "bypass" not in (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()


async def test_a46_where_policy_is_away_a_factor_still_opens_and_the_bypass_ends_later(
    stack: Stack, clinic: SomeClinic
) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    waiting = (await person.sign_in())["token"]
    await granted(admin, person)
    apart = await stack.another_app(policy_target="127.0.0.1:1")  # nobody listens there
    body = {"method": "totp", "code": person.code()}
    proven = await apart.call("POST", "/v1/session/second-factor", body, token=waiting)
    assert proven.json()["state"] == "active"
    assert (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()["bypass"]["state"] == "unused"
    assert (await person.sign_in())["state"] == "second_factor_required"
    assert "bypass" not in (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()


async def test_a_phone_found_again_makes_the_bypass_session_active_and_changes_nothing(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await granted(admin, person)
    assert (await person.sign_in())["state"] == "enrolment_required"
    proven = await person.prove()
    assert proven.json()["state"] == "active"
    person.token = proven.json()["token"]
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    factors = (await person.call("GET", "/v1/me/two-factor")).json()
    assert [factor["method"] for factor in factors["factors"]] == ["totp"]
    assert factors["backup_codes"]["remaining"] == 10


async def test_the_sign_in_by_bypass_sets_the_guess_budget_to_full(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await person.sign_in()
    for _ in range(5):
        await person.prove(person.wrong_code())
    assert (await person.prove()).status_code == 429
    await granted(admin, person)
    assert (await person.prove()).status_code == 429  # not the grant
    await person.sign_in()
    assert (await person.enrol_totp())["session"]["state"] == "active"


async def test_a30_the_bypass_session_enrols_only_whatever_is_begun_again_and_dies_after_thirty_minutes(
    clinic: SomeClinic,
) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await granted(admin, person)
    session = await person.sign_in()
    first = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    again = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    assert first["enrolment_id"] == again["enrolment_id"]
    assert await person.state() == "enrolment_required"
    await clinic.require_here(require_two_factor=False, methods=("totp",))
    assert await person.state() == "enrolment_required"  # the rule going does not make it more
    person.stack.clock.advance(timedelta(minutes=29, seconds=59))
    assert (await person.call("GET", "/v1/me")).status_code == 200
    person.stack.clock.advance(timedelta(seconds=1))
    over = await person.call("GET", "/v1/me")
    assert (over.status_code, over.json()["cause"]) == (401, "expired")
    assert session["expires_at"] == session["idle_expires_at"]


async def test_a_proven_number_cannot_be_changed_in_a_bypass_session(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    person.stack.sql("UPDATE app_user SET phone_proven = true WHERE id = %s", [person.id])
    await granted(admin, person)
    await person.sign_in()
    for method, path in (("PATCH", "/v1/me"), ("POST", "/v1/me/two-factor/sms")):
        refused = await person.call(method, path, {"phone": "+447700900199"})
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden")
    assert (await person.call("POST", "/v1/me/phone", {"phone": "+447700900199"})).status_code == 403


async def test_a47_not_for_oneself_not_for_strangers_not_without_proof(stack: Stack, clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    bare = await administrator(clinic, with_factor=False)
    stranger = await (await stack.make_clinic()).person()
    itself = await grant(admin, admin)
    assert (itself.status_code, slug_of(itself)) == (403, "forbidden")
    assert await revoke(admin, admin) == 403
    foreign = await grant(admin, stranger)
    assert (foreign.status_code, slug_of(foreign)) == (404, "not-found")
    assert await revoke(admin, stranger) == 404
    plain = await grant(person, admin)
    assert (plain.status_code, slug_of(plain)) == (403, "forbidden")
    without = await grant(bare, person)
    assert (without.status_code, slug_of(without)) == (409, "conflict")
    await granted(admin, person)
    assert await revoke(bare, person) == 204  # to take it back before it is used needs none
    await granted(admin, person)
    await person.sign_in()
    assert await revoke(bare, person) == 409  # to undo it does: it takes the password away
    stack.clock.advance(timedelta(minutes=6))
    stale = await grant(admin, person)
    assert (stale.status_code, slug_of(stale)) == (401, "step-up-required")
    assert await revoke(admin, person) == 401


async def test_a_bypass_takes_a_reason_and_at_most_a_day(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await clinic.person()
    path = f"/v1/users/{person.id}/two-factor/bypass"
    for body in (
        {},
        {"reason": ""},
        {"reason": "x", "expires_in_minutes": 0},
        {"reason": "x", "expires_in_minutes": 1441},
        {"reason": "x", "expires_in_minutes": "60"},
        {"reason": "x", "user_id": "usr_1"},
    ):
        assert (await admin.call("POST", path, body)).status_code == 422
    bypass = await granted(admin, person, expires_in_minutes=1440)
    assert bypass["expires_at"] > bypass["granted_at"]
    disabled = await clinic.person()
    await admin.call("PATCH", f"/v1/users/{disabled.id}", {"disabled": True})
    assert (await grant(admin, disabled)).status_code == 409


async def test_suspended_factors_stop_everything_and_never_leave_a_password_alone(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    live = person.token
    await person.sign_in()
    waiting = person.token
    codes = person.backup_codes
    bypass = await granted(admin, person, suspend_factors=True)
    assert bypass["suspend_factors"] is True
    for_admin = (await admin.call("GET", f"/v1/users/{person.id}/two-factor")).json()
    assert (for_admin["enabled"], for_admin["suspended"]) == (True, True)
    assert [factor["suspended"] for factor in for_admin["factors"]] == [True]
    name = (await admin.call("GET", f"/v1/users/{person.id}")).json()["name"]
    assert for_admin["reason"]["sentence"] == (
        f"What {name} set up for codes is suspended. An administrator can let them in once."
    )
    own = (await admin.call("GET", f"/v1/users/{admin.id}/two-factor")).json()
    assert (own["suspended"], own["reason"]["sentence"][:4]) == (False, "You ")
    for token in (live, waiting):
        ended = await person.stack.call("GET", "/v1/session", token=token)
        assert (ended.status_code, ended.json()["cause"]) == (401, "ended")
    assert await revoke(admin, person) == 204
    session = await person.sign_in()  # the clinic requires nothing of anybody, and yet
    assert (session["state"], session["methods"]) == ("second_factor_required", [])
    assert "administrator" in session["reason"]["sentence"]
    assert "Harbour Clinic" in session["reason"]["sentence"]
    refused = await person.call("GET", "/v1/me")
    assert (refused.status_code, slug_of(refused), refused.json()["methods"]) == (403, "second-factor-required", [])
    for method, code in (("totp", person.code()), ("backup_code", codes[0])):
        closed = await person.prove(code, method)
        assert (closed.status_code, slug_of(closed)) == (409, "conflict")
    assert (await person.call("POST", "/v1/session/second-factor/sms")).status_code == 409
    assert (await person.call("POST", "/v1/me/two-factor/totp")).status_code == 403
    await granted(admin, person)
    assert (await person.sign_in())["state"] == "enrolment_required"
    assert (await person.prove()).status_code == 403  # not with a suspended one
    confirmed = await person.enrol_totp()
    assert confirmed["session"]["state"] == "active"
    assert (await person.sign_in())["methods"] == ["totp", "backup_code"]
    assert (await person.prove()).json()["state"] == "active"


async def test_a_bypass_works_under_a_hold_and_no_outage_uses_it(stack: Stack, clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    hold = await admin.call("PUT", "/v1/clinic/integrations/accounts", {"requires_two_factor": True})
    assert hold.status_code == 200, hold.text
    await granted(admin, person)
    assert (await person.sign_in())["state"] == "enrolment_required"
    await person.enrol_totp()
    await granted(admin, person)
    await stack.stop_policy()
    assert (await person.sign_in())["state"] == "second_factor_required"
    assert (await person.prove()).json()["state"] == "active"


async def test_a_good_device_token_leaves_the_bypass_for_where_it_is_needed(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await clinic.require(require_two_factor=None, remember_device_days=7)
    await person.sign_in()
    proven = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    token = proven.json()["device_token"]
    person.stack.clock.advance(timedelta(seconds=30))
    await granted(admin, person)
    session = await person.sign_in(device_token=token)
    assert (session["state"], session["remembered"]) == ("active", True)
    assert (await person.sign_in())["state"] == "enrolment_required"
    confirmed = await person.enrol_totp()
    assert confirmed["session"]["state"] == "active"
    assert await person.state() == "active"
    session = await person.sign_in(device_token=session["device_token"])
    assert session["state"] == "second_factor_required"  # the browsers are forgotten with the old factor


async def test_who_is_refused_learns_nothing_of_a_bypass(clinic: SomeClinic) -> None:
    admin, person = await administrator(clinic), await enrolled(clinic)
    await granted(admin, person)
    wrong = await person.try_sign_in(password="not the password at all")
    assert (wrong.status_code, slug_of(wrong)) == (401, "invalid-credentials")
    assert (await person.sign_in(password=PASSWORD))["state"] == "enrolment_required"  # it is still there
