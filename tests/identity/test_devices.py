"""Remembered browsers (R10) and shared computers (R5): what they stand for, how long, and what ends them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.identity.model import ClinicId, SessionId, UserId
from services.identity.peers.otp import OtpCaller
from services.identity.policy_words import RuleChange
from services.otp import backup_codes
from tests.identity.people import PASSWORD, PHONE, Json, Person, SomeClinic, Stack, slug_of

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.fixture
async def remembering(clinic: SomeClinic) -> SomeClinic:
    await allow(clinic, 30)
    return clinic


async def allow(clinic: SomeClinic, days: int) -> None:
    """Behind the gateway's back, as another replica would."""
    change = RuleChange(remember_device_days=days)
    await clinic.stack.gateway.policy.change_rule(
        ClinicId(clinic.id), change, actor_kind="operator", actor_id=None, address=""
    )


async def enrolled(clinic: SomeClinic, role: str = "practitioner") -> Person:
    person = await clinic.person(role=role, phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    return person


async def prove_and_remember(person: Person, method: str = "totp", code: str = "") -> Json:
    body = {"method": method, "code": code or person.code(), "remember_device": True}
    response = await person.prove_raw(body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    person.token = answer["token"]
    person.stack.clock.advance(timedelta(seconds=30))
    return answer


async def remembered(person: Person) -> str:
    """Signs in with a code; the browser's token."""
    await person.sign_in()
    return str((await prove_and_remember(person))["device_token"])


async def state_with(person: Person, device_token: str, **more: bool) -> str:
    """And no other token for one that stands for nothing."""
    session = await person.sign_in(device_token=device_token, **more)
    assert ("device_token" in session) is (session["state"] == "active")
    return str(session["state"])


async def test_a_remembered_browser_stands_for_the_code_and_never_for_a_step_up(remembering: SomeClinic) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    session = await person.sign_in(device_token=token)
    assert (session["state"], session["remembered"]) == ("active", True)
    assert (session["amr"], session["acr"], session["verified_at"]) == (["pwd"], "aal1", None)
    assert session["device_token"] != token
    assert (await person.call("GET", "/v1/me/sessions")).status_code == 200
    shown = (await person.call("GET", "/v1/session")).json()
    assert shown["remembered"] is True
    assert "device_token" not in shown
    said = shown["reason"]
    assert said["sentence"].startswith("This browser is remembered until ")
    assert [rule["outcome"] for rule in said["rules"] if rule["rule"] == "remembered_browser"] == ["stands_for_a_code"]
    assert {rule["rule"] for rule in said["rules"]} > {"clinic_rule", "remembered_browser"}
    # P11, A31, A40: whatever changes the account asks for a fresh code.
    for method, path, body in (
        ("POST", "/v1/me/two-factor/totp", None),
        ("POST", "/v1/me/two-factor/sms", {}),
        ("POST", "/v1/me/two-factor/totp/none/confirm", {"code": "000000"}),
        ("POST", "/v1/me/two-factor/backup-codes", None),
        ("DELETE", "/v1/me/two-factor/totp", None),
        ("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": "quiet amber ladder seven"}),
        ("PATCH", "/v1/me", {"phone": "+447700900199"}),
        ("POST", "/v1/me/phone", {"phone": "+447700900199"}),
    ):
        refused = await person.call(method, path, body)
        assert (refused.status_code, slug_of(refused)) == (401, "step-up-required"), path
    proven = await person.prove()
    assert (proven.json()["acr"], proven.json()["amr"]) == ("aal2", ["pwd", "otp", "mfa"])
    assert "remembered" not in proven.json()
    person.token = proven.json()["token"]
    assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 201


async def test_a_spent_budget_opens_nothing_to_a_browser_that_has_proven_nothing(remembering: SomeClinic) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    await person.sign_in()
    for _ in range(5):
        await person.prove(person.wrong_code())
    await person.sign_in(device_token=token)
    body = {"current_password": PASSWORD, "new_password": "quiet amber ladder seven"}
    refused = await person.call("PUT", "/v1/me/password", body)
    assert (refused.status_code, slug_of(refused)) == (401, "step-up-required")


async def test_an_administrator_in_a_remembered_browser_steps_up_before_any_change(remembering: SomeClinic) -> None:
    admin = await enrolled(remembering, role="admin")
    await admin.sign_in(device_token=await remembered(admin))
    assert (await admin.call("GET", "/v1/users")).status_code == 200
    for method, path, body in (
        ("PATCH", "/v1/clinic/security", {"require_two_factor": True}),
        ("POST", "/v1/users", {"email": "new@harbour.example", "name": "New", "role": "admin"}),
        ("DELETE", f"/v1/users/{admin.id}/devices", None),
        ("PUT", "/v1/device/shared", None),
    ):
        refused = await admin.call(method, path, body)
        assert (refused.status_code, slug_of(refused)) == (401, "step-up-required"), path


async def test_p14_each_use_replaces_the_token_and_a_late_use_of_an_old_one_ends_the_family(
    remembering: SomeClinic,
) -> None:
    person = await enrolled(remembering)
    first = await remembered(person)
    second = (await person.sign_in(device_token=first))["device_token"]
    assert await state_with(person, first) == "active"  # the answer may have been lost
    person.stack.clock.advance(timedelta(seconds=60))
    assert await state_with(person, first) == "active"  # for a minute
    third = (await person.sign_in(device_token=second))["device_token"]
    assert await person.state() == "active"
    family = person.token
    person.stack.clock.advance(timedelta(seconds=61))
    assert await state_with(person, first) == "second_factor_required"  # somebody has a copy
    assert await state_with(person, third) == "second_factor_required"
    person.stack.clock.advance(timedelta(seconds=2))
    refused = await person.stack.call("GET", "/v1/me", token=family)
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    assert "device.reused" in person.stack.events(person.id)


async def test_only_its_owner_is_remembered_and_a_bad_token_is_ignored(remembering: SomeClinic) -> None:
    person, other = await enrolled(remembering), await enrolled(remembering)
    token = await remembered(person)
    assert await state_with(other, token) == "second_factor_required"
    for bad in ("", "x", "a" * 200, token[:-1]):
        assert await state_with(person, bad) == "second_factor_required"
    assert await state_with(person, token) == "active"
    refused = await person.try_sign_in(password="not the password at all", device_token=token)
    assert refused.status_code == 401
    stored = person.stack.sql("SELECT token_digest FROM device WHERE user_id = %s", [person.id])
    assert token.encode() not in stored[0]["token_digest"]


async def test_a_browser_is_remembered_for_the_days_and_the_strictest_hold_of_now(remembering: SomeClinic) -> None:
    person, admin = await enrolled(remembering), await enrolled(remembering, role="admin")
    token = await remembered(person)
    person.stack.clock.advance(29 * DAY)
    session = await person.sign_in(device_token=token)
    assert session["state"] == "active"
    token = session["device_token"]
    await admin.sign_in_in_full()
    hold = {"requires_two_factor": True, "max_device_trust_hours": 24}
    assert (await admin.call("PUT", "/v1/clinic/integrations/accounts", hold)).status_code == 200
    person.stack.clock.advance(timedelta(seconds=2))
    refused = await person.call("GET", "/v1/me")  # the live session follows within two seconds
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    assert await state_with(person, token) == "second_factor_required"
    assert (await admin.call("DELETE", "/v1/clinic/integrations/accounts")).status_code == 204
    assert await state_with(person, token) == "second_factor_required"  # ended, not set aside
    other = await enrolled(remembering)
    token = await remembered(other)
    other.stack.clock.advance(30 * DAY - timedelta(seconds=31))
    session = await other.sign_in(device_token=token)
    assert session["state"] == "active"
    token = session["device_token"]
    other.stack.clock.advance(timedelta(seconds=1))  # the thirtieth is over
    assert await state_with(other, token) == "second_factor_required"


async def test_a_live_remembered_session_follows_the_rule_within_two_seconds(remembering: SomeClinic) -> None:
    person = await enrolled(remembering)
    await person.sign_in(device_token=await remembered(person))
    elsewhere = await person.stack.another_app()
    assert (await elsewhere.call("GET", "/v1/me", token=person.token)).status_code == 200
    await allow(remembering, 0)
    person.stack.clock.advance(timedelta(seconds=2))
    for replica in (person.stack, elsewhere):
        assert (await replica.call("GET", "/v1/me", token=person.token)).status_code == 403
    proven = await person.prove()
    assert proven.json()["state"] == "active"


async def test_a_browser_stands_for_no_factor_that_is_suspended_or_that_the_clinic_allows_no_more(
    remembering: SomeClinic,
) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    await remembering.require(methods=("sms",))
    assert await state_with(person, token) == "second_factor_required"
    await remembering.require(methods=("totp",))
    caller = OtpCaller(ClinicId(remembering.id), UserId(person.id), SessionId("ses_1"), "192.0.2.7")
    await person.stack.gateway.otp.suspend_factors(caller, "bypass")
    assert await state_with(person, token) == "second_factor_required"


async def test_p14_a_browser_that_is_forgotten_during_a_sign_in_does_not_open_the_session(
    remembering: SomeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    (device,) = (await person.call("GET", "/v1/me/devices")).json()["devices"]
    owner, devices = person.token, person.stack.gateway.remembering._devices
    use = devices.use

    async def forgotten_just_after(*asked: Any) -> object:
        found = await use(*asked)
        forgotten = await person.stack.call("DELETE", f"/v1/me/devices/{device['id']}", token=owner)
        assert forgotten.status_code == 204, forgotten.text
        return found

    monkeypatch.setattr(devices, "use", forgotten_just_after)
    await person.sign_in(device_token=token)
    assert await person.state() == "second_factor_required"


async def test_p10_with_policy_away_no_browser_is_remembered(stack: Stack, remembering: SomeClinic) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    live = (await person.sign_in(device_token=token))["token"]
    await stack.stop_policy()
    stack.clock.advance(timedelta(seconds=2))
    assert (await stack.call("GET", "/v1/me", token=live)).status_code == 503
    assert (await stack.call("GET", "/v1/session", token=live)).json()["state"] == "second_factor_required"
    session = await person.sign_in(device_token=token)
    assert (session["state"], session.get("device_token")) == ("second_factor_required", None)
    answer = await prove_and_remember(person)
    assert (answer["state"], answer.get("device_token")) == ("active", None)


async def test_where_the_clinic_does_not_allow_it_and_with_a_backup_code_nobody_is_remembered(
    clinic: SomeClinic,
) -> None:
    person = await enrolled(clinic)
    await person.sign_in()
    assert "device_token" not in await prove_and_remember(person)
    await allow(clinic, 30)
    await person.sign_in()
    assert "device_token" not in await prove_and_remember(person, "backup_code", person.backup_codes[0])
    await person.sign_in()
    assert "device_token" in await prove_and_remember(person)


async def test_what_ends_the_remembering(remembering: SomeClinic) -> None:
    admin = await enrolled(remembering, role="admin")
    ends = (
        *("password", "reset", "factor_added", "factor_removed", "user", "administrator"),
        *("disabled", "suspended"),  # A48: a disabled user's too
    )
    for what in ends:
        person = await enrolled(remembering)
        session = await person.sign_in(device_token=await remembered(person))
        token, live = session["device_token"], person.token
        await person.sign_in_in_full()
        password = await end(what, person, admin)
        refused = await person.stack.call("GET", "/v1/me", token=live)
        assert refused.status_code in (401, 403), what
        session = await person.sign_in(password=password, device_token=token)
        assert (session["state"], session.get("device_token")) == ("second_factor_required", None), what


async def end(what: str, person: Person, admin: Person) -> str:
    """Does what ends the remembering; the person's password after it."""
    another = "quiet amber ladder seven"
    if what in ("reset", "administrator", "disabled", "suspended"):
        await admin.sign_in_in_full()
    if what == "password":
        body = {"current_password": PASSWORD, "new_password": another}
        assert (await person.call("PUT", "/v1/me/password", body)).status_code == 200
        return another
    if what == "reset":
        link = (await admin.call("POST", f"/v1/users/{person.id}/password-reset")).json()["activation"]["token"]
        used = await person.stack.call("POST", f"/v1/activations/{link}", {"password": another})
        assert used.status_code == 204
        return another
    if what == "factor_added":
        number = f"+4477009{person.id.removeprefix('usr_').zfill(5)[-5:]}"
        started = (await person.call("POST", "/v1/me/two-factor/sms", {"phone": number})).json()
        path = f"/v1/me/two-factor/sms/{started['enrolment_id']}/confirm"
        confirmed = await person.call("POST", path, {"code": person.stack.notifier.code_to(number)})
        assert confirmed.status_code == 200
    elif what == "factor_removed":
        assert (await person.call("DELETE", "/v1/me/two-factor/totp")).status_code == 204
        await person.enrol_totp()
    elif what == "user":
        devices = (await person.call("GET", "/v1/me/devices")).json()["devices"]
        statuses = [(await person.call("DELETE", f"/v1/me/devices/{devices[0]['id']}")).status_code for _ in range(2)]
        assert statuses == [204, 404]
    elif what == "administrator":
        assert (await admin.call("DELETE", f"/v1/users/{person.id}/devices")).status_code == 204
    elif what == "disabled":
        for disabled in (True, False):
            assert (await admin.call("PATCH", f"/v1/users/{person.id}", {"disabled": disabled})).status_code == 200
    elif what == "suspended":
        bypass = f"/v1/users/{person.id}/two-factor/bypass"
        body = {"reason": "Stolen.", "suspend_factors": True}
        assert (await admin.call("POST", bypass, body)).status_code == 201
        assert (await admin.call("DELETE", bypass)).status_code == 204
    return PASSWORD


async def test_my_browsers_are_listed_with_the_one_at_hand(remembering: SomeClinic) -> None:
    person, other = await enrolled(remembering), await enrolled(remembering)
    first, second = await remembered(person), await remembered(person)
    assert first != second
    await person.sign_in(device_token=first)
    devices = (await person.call("GET", "/v1/me/devices")).json()["devices"]
    assert [device["current"] for device in devices] == [True, False]
    assert devices[0]["address"] == "192.0.2.7"
    await other.sign_in_in_full()
    assert (await other.call("GET", "/v1/me/devices")).json() == {"devices": []}
    assert (await other.call("DELETE", f"/v1/me/devices/{devices[0]['id']}")).status_code == 404
    await allow(remembering, 0)
    await person.sign_in_in_full()
    assert (await person.call("GET", "/v1/me/devices")).json() == {"devices": []}


async def test_a65_an_administrator_of_another_clinic_forgets_nobody_here(
    stack: Stack, remembering: SomeClinic
) -> None:
    person, stranger = await enrolled(remembering), await enrolled(await stack.make_clinic(), role="admin")
    token = await remembered(person)
    assert (await stranger.call("DELETE", f"/v1/users/{person.id}/devices")).status_code == 404
    assert await state_with(person, token) == "active"


async def test_on_a_shared_computer_nobody_is_remembered(remembering: SomeClinic) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    assert await state_with(person, token, shared_device=True) == "second_factor_required"
    refused = await person.prove_raw({"method": "totp", "code": person.code(), "remember_device": True})
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert "device_token" not in (await person.prove()).json()
    assert await state_with(person, token) == "active"  # elsewhere it still is


async def test_an_administrator_marks_a_browser_as_shared_and_only_a_signed_mark_counts(
    remembering: SomeClinic,
) -> None:
    admin, person = await enrolled(remembering, role="admin"), await enrolled(remembering)
    token = await remembered(person)
    assert (await person.call("PUT", "/v1/device/shared")).status_code == 403
    await admin.sign_in_in_full()
    marked = await admin.call("PUT", "/v1/device/shared")
    assert marked.status_code == 204
    header = marked.headers["set-cookie"]
    assert "HttpOnly" in header
    assert "Max-Age=34560000" in header  # the longest that browsers keep one
    mark = header.partition(";")[0]
    name, _, value = mark.partition("=")

    async def sign_in(cookie: str) -> Json:
        body = {"clinic": remembering.slug, "email": person.email, "password": PASSWORD, "device_token": token}
        response = await person.stack.call("POST", "/v1/sessions", body, Cookie=cookie)
        answer: Json = response.json()
        return answer

    session = await sign_in(mark)
    assert session["state"] == "second_factor_required"
    person.token = session["token"]
    body = {"method": "totp", "code": person.code(), "remember_device": True}
    assert (await person.call("POST", "/v1/session/second-factor", body)).status_code == 422
    person.token = (await sign_in(""))["token"]
    assert (await person.call("GET", "/v1/me")).status_code == 200
    assert (await person.call("POST", "/v1/session/second-factor", body, Cookie=mark)).status_code == 422
    token = (await sign_in(f"{name}=forged.{value}"))["device_token"]  # a forged mark marks nothing
    cleared = await admin.call("DELETE", "/v1/device/shared")
    assert cleared.status_code == 204
    assert "Max-Age=0" in cleared.headers["set-cookie"]
    kinds = admin.stack.events(admin.id)
    assert kinds[-2:] == ["device.shared", "device.unshared"]


async def test_of_parallel_sign_ins_with_one_device_token_each_gets_in_and_the_browser_stays_one(
    remembering: SomeClinic,
) -> None:
    person = await enrolled(remembering)
    token = await remembered(person)
    answers = await asyncio.gather(*(person.try_sign_in(device_token=token) for _ in range(5)))
    assert [answer.json()["state"] for answer in answers] == ["active"] * 5
    assert len({answer.json()["device_token"] for answer in answers}) == 5
    rows = person.stack.sql("SELECT count(*) AS n FROM device WHERE user_id = %s AND ended_at IS NULL", [person.id])
    assert rows == [{"n": 1}]
