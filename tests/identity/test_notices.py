"""R23: people are told of what happened to their account, in the app and by text, once, in the transaction of the
change; to which number, by whom it was done, and what a notice never says."""

from datetime import timedelta

import pytest

from services.otp import backup_codes
from tests.identity.people import PASSWORD, PHONE, Person, SomeClinic, Stack, slug_of
from tests.identity.told import (
    FIREFOX,
    enrol_sms,
    kinds,
    post_form,
    prove_number,
    rows,
    shown,
    sign_in_by_pages,
    step_up,
    texts,
    told,
)

OTHER = "+447700900124"
THIRD = "+447700900125"
NEW_PASSWORD = "quiet amber ladder 7"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.fixture
async def reachable(clinic: SomeClinic) -> Person:
    """Someone signed in, with a proven number."""
    person = await clinic.person(phone=PHONE)
    prove_number(person)
    await person.sign_in()
    return person


async def test_r23_factors_added_changed_and_removed(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    await reachable.enrol_totp()
    assert (await reachable.call("DELETE", "/v1/me/two-factor/totp")).status_code == 204
    expected = ["factor_added", "factor_changed", "factor_removed"]
    assert await kinds(reachable) == expected
    assert await texts(stack, reachable) == [(kind, PHONE) for kind in expected]
    first = (await told(stack, reachable))[0]
    assert (first.method, first.address, first.timezone, first.locale) == (
        "totp",
        "192.0.2.7",
        "Europe/London",
        "en-GB",
    )
    assert first.email == reachable.email
    assert first.not_after.ToSeconds() - first.happened_at.ToSeconds() == 24 * 3600 - 600
    assert [row["kind"] for row in rows(reachable)] == expected, "each is written once"


async def test_a_notice_says_what_when_and_where_from(stack: Stack, reachable: Person) -> None:
    started = await reachable.call("POST", "/v1/me/two-factor/totp")
    reachable.secret = started.json()["secret"]
    path = f"/v1/me/two-factor/totp/{started.json()['enrolment_id']}/confirm"
    confirmed = await reachable.call("POST", path, {"code": reachable.code()}, **{"User-Agent": FIREFOX})
    reachable.token = confirmed.json()["session"]["token"]
    new_browser, notice = await shown(reachable)
    assert new_browser["kind"] == "new_browser", "the password was typed in another"
    assert notice["sentence"] == (
        "An authenticator app was set up for your account on 16 November at 09:30 (Europe/London), from 192.0.2.7,"
        " Firefox on Windows. If that was not you, tell your administrator."
    )
    assert notice["detail"] == {"method": "totp", "address": "192.0.2.7", "browser": "Firefox on Windows"}
    assert (await told(stack, reachable))[0].browser == "Firefox on Windows"


async def test_a49_whoever_changes_a_number_tells_the_old_one(stack: Stack, clinic: SomeClinic, admin: Person) -> None:
    by_oneself, by_administrator = await clinic.person(phone=PHONE), await clinic.person(phone=PHONE)
    await by_oneself.sign_in()
    await by_administrator.sign_in()
    assert (await by_oneself.call("PATCH", "/v1/me", {"phone": OTHER})).status_code == 200
    changed = await admin.call("PATCH", f"/v1/users/{by_administrator.id}", {"phone": OTHER})
    assert changed.status_code == 200, changed.text
    for person in (by_oneself, by_administrator):
        assert await texts(stack, person) == [("phone_changed", PHONE)]  # proven or not; the new one only when proven
        assert await kinds(person) == ["phone_changed"]
    assert "Mina Okafor changed the telephone number" in (await shown(by_administrator))[0]["sentence"]
    # The same number again, and the first number of somebody, are no changes.
    assert (await by_oneself.call("PATCH", "/v1/me", {"phone": OTHER})).status_code == 200
    without = await clinic.person()
    await without.sign_in()
    assert (await without.call("PATCH", "/v1/me", {"phone": PHONE})).status_code == 200
    assert (await kinds(by_oneself), await kinds(without)) == (["phone_changed"], [])


async def test_a49_a_number_that_is_proven_and_replaces_another_is_told_with_it(
    stack: Stack, reachable: Person
) -> None:
    assert (await reachable.call("POST", "/v1/me/phone", {"phone": OTHER})).status_code == 202
    stack.clock.advance(timedelta(minutes=1))
    code = {"code": stack.notifier.code_to(OTHER)}
    assert (await reachable.call("POST", "/v1/me/phone/confirm", code)).status_code == 204
    assert sorted(await texts(stack, reachable)) == [("phone_changed", PHONE), ("phone_changed", OTHER)]
    assert await kinds(reachable) == ["phone_changed"], "shown once"
    await enrol_sms(reachable, THIRD)
    assert sorted((await texts(stack, reachable))[2:]) == [
        ("factor_added", OTHER),
        ("phone_changed", OTHER),
        ("phone_changed", THIRD),
    ]


async def test_a_number_set_by_turns_texts_nobody_for_long(stack: Stack, clinic: SomeClinic) -> None:
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    for number in range(12):
        changed = await person.call("PATCH", "/v1/me", {"phone": f"+44770090010{number % 10}"})
        assert changed.status_code == 200
    assert len(await texts(stack, person)) == 5
    prove_number(person)
    assert (await person.call("PATCH", "/v1/me", {"phone": THIRD})).status_code == 200
    assert len(await texts(stack, person)) == 6, "a proven one is always told"


async def test_passwords_changed_and_reset(stack: Stack, reachable: Person, admin: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    changed = await reachable.call("PUT", "/v1/me/password", body)
    reachable.token = changed.json()["token"]
    assert await kinds(reachable) == ["password_changed"]
    link = (await admin.call("POST", f"/v1/users/{reachable.id}/password-reset")).json()["activation"]["token"]
    assert await kinds(reachable) == ["password_changed"], "a link that nobody used has changed nothing"
    used = await stack.call("POST", f"/v1/activations/{link}", {"password": PASSWORD})
    assert used.status_code == 204, used.text
    await reachable.sign_in()
    assert await kinds(reachable) == ["password_changed", "password_reset"]
    assert await texts(stack, reachable) == [("password_changed", PHONE), ("password_reset", PHONE)]


async def test_an_invitation_taken_up_is_no_reset(stack: Stack, admin: Person) -> None:
    body = {"email": "newest@harbour.example", "name": "New Nurse", "role": "receptionist"}
    invited = (await admin.call("POST", "/v1/users", body)).json()
    used = await stack.call("POST", f"/v1/activations/{invited['activation']['token']}", {"password": NEW_PASSWORD})
    assert used.status_code == 204
    assert stack.sql("SELECT 1 FROM notice WHERE user_id = %s", [invited["user"]["id"]]) == []


async def test_backup_codes_made_and_running_low(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()  # the first codes are no news
    made = await reachable.call("POST", "/v1/me/two-factor/backup-codes", {})
    codes = made.json()["codes"]
    for code in codes[:8]:
        stack.clock.advance(timedelta(minutes=1))
        await reachable.sign_in()
        proven = await reachable.prove(code, "backup_code")
        assert proven.status_code == 200, proven.text
        reachable.token = proven.json()["token"]
    assert await kinds(reachable) == ["factor_added", "backup_codes_made", *["backup_codes_low"] * 2]
    stack.clock.advance(timedelta(minutes=1))
    low = [notice.backup_codes_left for notice in await told(stack, reachable) if notice.backup_codes_left]
    assert low == [3, 2]
    assert "you have 2 backup codes left" in (await shown(reachable))[0]["sentence"]


async def test_a_spent_budget_is_texted_once_a_day(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    for _ in range(2):
        for _ in range(5):
            await reachable.prove(reachable.wrong_code())
        assert (await reachable.prove(reachable.wrong_code())).status_code == 429
        stack.clock.advance(timedelta(minutes=20))
        await reachable.sign_in_in_full()
    assert (await kinds(reachable)).count("guesses_spent") == 2
    assert (await texts(stack, reachable)).count(("guesses_spent", PHONE)) == 1
    assert "someone knows your password" in (await shown(reachable))[0]["sentence"]


async def test_without_a_proven_number_the_app_alone_tells(stack: Stack, clinic: SomeClinic) -> None:
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    assert await kinds(person) == ["factor_added"]
    assert await texts(stack, person) == []
    assert [notice.email for notice in await told(stack, person)] == [person.email]


async def test_notices_are_ones_own_until_dismissed_and_for_the_active_only(
    stack: Stack, reachable: Person, person: Person
) -> None:
    await reachable.enrol_totp()
    await reachable.enrol_totp()
    await person.sign_in()
    newest, oldest = await shown(reachable)
    assert newest["at"] > oldest["at"]
    path = f"/v1/me/notices/{newest['id']}"
    foreign = await person.call("DELETE", path)
    assert (foreign.status_code, slug_of(foreign)) == (404, "not-found")
    assert (await reachable.call("DELETE", path)).status_code == 204
    assert (await reachable.call("DELETE", path)).status_code == 404
    assert [notice["id"] for notice in await shown(reachable)] == [oldest["id"]]
    await reachable.sign_in()
    for method, where in (("GET", "/v1/me/notices"), ("DELETE", f"/v1/me/notices/{oldest['id']}")):
        refused = await reachable.call(method, where)
        assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")


async def test_old_notices_go(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    stack.clock.advance(timedelta(days=89))
    await stack.gateway.notices.purge()
    assert len(rows(reachable)) == 1
    stack.clock.advance(timedelta(days=2))
    assert await stack.gateway.notices.purge() > 0
    assert rows(reachable) == []


async def test_a_factor_that_another_request_outran_is_told_all_the_same(
    stack: Stack, reachable: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever races two requests of a stolen session sets a factor up in silence."""

    async def outrun(*_: object) -> None:
        return None

    started = await reachable.call("POST", "/v1/me/two-factor/totp")
    reachable.secret = started.json()["secret"]
    path = f"/v1/me/two-factor/totp/{started.json()['enrolment_id']}/confirm"
    monkeypatch.setattr(stack.gateway.session_store, "rotate", outrun)
    lost = await reachable.call("POST", path, {"code": reachable.code()})
    assert (lost.status_code, lost.json()["cause"]) == (401, "replaced")
    assert await texts(stack, reachable) == [("factor_added", PHONE)]


async def test_what_is_refused_is_not_told(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    body = {"current_password": "wrong wrong wrong", "new_password": NEW_PASSWORD}
    assert (await reachable.call("PUT", "/v1/me/password", body)).status_code == 401
    stale = reachable.token
    await step_up(reachable)
    assert (await stack.call("PATCH", "/v1/me", {"phone": OTHER}, token=stale)).status_code == 401
    assert await kinds(reachable) == ["factor_added"]


async def test_the_page_lists_what_is_not_dismissed(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    await reachable.enrol_totp()
    async with stack.client(**{"User-Agent": FIREFOX}) as client:
        await sign_in_by_pages(client, reachable)
        page = (await client.get("/me")).text
        newest = (await shown(reachable))[0]
        assert page.index("from a new browser") < page.index("was replaced") < page.index("was set up")
        await post_form(client, "/me", f"/me/notices/{newest['id']}/dismiss", {})
        await post_form(client, "/me", f"/me/notices/{newest['id']}/dismiss", {})
        page = (await client.get("/me")).text
        assert "from a new browser" not in page
        assert "was replaced" in page
    assert "from a new browser" not in str(await shown(reachable))


async def test_whoever_makes_codes_all_day_long_is_texted_five_times_and_shown_each(
    stack: Stack, reachable: Person
) -> None:
    """Else one person's step-up empties the purse that everybody's codes are paid from."""
    await reachable.enrol_totp()
    for _ in range(7):
        assert (await reachable.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 201
    assert [kind for kind, _ in await texts(stack, reachable)].count("backup_codes_made") == 5
    assert (await kinds(reachable)).count("backup_codes_made") == 7
