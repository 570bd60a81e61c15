"""My info by page: what is said of one's account, and what one may change of it."""

import re
from datetime import timedelta
from urllib.parse import unquote

import pytest

from services.identity.policy_words import ScheduleChange
from tests.identity.people import NOW, PASSWORD, PHONE, Person, SomeClinic, Stack
from tests.identity.playing import Player, codes_in, location_of, words_of

NEW = "quiet amber ladder 7"


@pytest.fixture
async def enrolled(person: Person) -> Player:
    """Somebody with an app, proven a minute ago."""
    await person.sign_in()
    await person.enrol_totp()
    return Player(person)


async def test_r18_it_says_whether_it_is_on_why_since_when_and_what_is_left(enrolled: Player) -> None:
    words = await enrolled.words("/me")
    assert "Two-factor authentication on" in words
    assert "You have set up an authenticator app, so you are asked for a code at every sign-in." in words
    assert "since 16 November 2026 · last used 16 November 2026, 09:30" in words
    assert "10 left · made 16 November 2026" in words
    assert "backup codes are left" not in words
    assert "Chrome on Linux" not in words
    assert "Unknown browser or app this one" in words
    person = enrolled.person
    for code in person.backup_codes[:7]:
        await person.sign_in()
        person.token = (await person.prove(code, "backup_code")).json()["token"]
        person.stack.clock.advance(timedelta(minutes=1))
    fresh = Player(person)
    assert "Only 3 backup codes are left." in await fresh.words("/me")


async def test_who_has_nothing_set_up_is_led_to_it_and_told_of_the_rule_that_is_to_come(clinic: SomeClinic) -> None:
    person = await clinic.person()
    await person.sign_in()
    words = await Player(person).words("/me")
    assert "Two-factor authentication off" in words
    assert "Set it up" in words
    assert "Backup codes" not in words
    await clinic.require_here(require_two_factor=None, schedule=ScheduleChange(NOW + timedelta(days=3)))
    page = await Player(person).text("/me")
    assert "19 November" in words_of(page)
    assert re.search(r'href="/set-up">Set it up now', page)


async def test_name_and_language_are_changed_and_a_name_that_is_none_is_kept_to_be_mended(enrolled: Player) -> None:
    wrong = await enrolled.send("/me/details", name=" \t", language="de")
    assert wrong.status_code == 422
    assert 'aria-describedby="name-hint name-wrong"' in wrong.text
    assert '<option value="de" selected>Deutsch' in wrong.text
    assert location_of(await enrolled.send("/me/details", name="Mina <Lind>", language="de")) == "/me?done=saved"
    page = await enrolled.text("/me")
    assert "Mina &lt;Lind&gt;" in page
    assert "Deutsch" in page
    row = enrolled.web.sql("SELECT name, locale FROM app_user WHERE id = %s", [enrolled.person.id])
    assert row == [{"name": "Mina <Lind>", "locale": "de"}]
    await enrolled.send("/me/details", name="Mina Lind", language="xx")
    assert enrolled.web.sql("SELECT locale FROM app_user WHERE id = %s", [enrolled.person.id]) == [{"locale": "de"}]


async def test_r06_a_number_is_proven_with_a_code_or_kept_and_called_unproven(enrolled: Player) -> None:
    stack = enrolled.web
    assert location_of(await enrolled.send("/me/phone/unproven", phone="07700 900199")) == "/me?done=saved"
    words = await enrolled.words("/me")
    assert "not confirmed +44 7700 900199" in words
    assert "not confirmed as yours yet" in await enrolled.words("/me/phone")
    wrong = await enrolled.send("/me/phone", phone="12")
    assert (wrong.status_code, 'value="12"' in wrong.text) == (422, True)
    path = location_of(await enrolled.send("/me/phone", phone=PHONE))
    assert "We sent a six-digit code to +44 ••••23." in await enrolled.words(path)
    wrong = await enrolled.send(path, code="000000")
    assert (wrong.status_code, 'value="000000"' in wrong.text) == (422, True)
    assert "+44 7700 900199" in await enrolled.words("/me"), "the old one until the new one is proven"
    stack.clock.advance(timedelta(minutes=2))
    again = location_of(await enrolled.send(f"{path}/again"))
    assert location_of(await enrolled.send(again, code=stack.notifier.code_to(PHONE))) == "/me?done=phone-proven"
    words = await enrolled.words("/me")
    assert "Mobile number +44 7700 900123" in words
    assert "not confirmed" not in words


async def test_where_no_text_can_be_sent_the_number_is_kept_without_a_code(enrolled: Player) -> None:
    enrolled.web.notifier.is_away = True
    answer = await enrolled.send("/me/phone", phone=PHONE)
    assert answer.status_code == 503
    assert f'value="{PHONE}"' in answer.text
    assert "Save it without a code" in words_of(answer.text)


async def test_r11_a_new_password_ends_every_other_sign_in_and_none_of_it_stands_in_a_page(enrolled: Player) -> None:
    person = enrolled.person
    await person.sign_in_in_full()
    elsewhere = person.token
    wrong = await enrolled.send("/me/password", current_password="not this one, sorry", new_password=NEW)
    assert wrong.status_code == 401
    assert "current_password-wrong" in wrong.text
    weak = await enrolled.send("/me/password", current_password=PASSWORD, new_password="password1234")
    assert weak.status_code == 422
    assert "new_password-wrong" in weak.text
    for answer in (wrong, weak):
        assert not any(typed in answer.text for typed in (NEW, PASSWORD, "password1234", "not this one"))
    done = await enrolled.send("/me/password", current_password=PASSWORD, new_password=NEW)
    assert location_of(done) == "/me?done=password-changed"
    assert "you are signed out everywhere else" in await enrolled.words("/me?done=password-changed")
    assert (await person.stack.call("GET", "/v1/session", token=elsewhere)).status_code == 401
    assert (await person.try_sign_in(NEW)).status_code == 201


async def test_p11_what_changes_an_account_asks_for_a_fresh_code_first_and_a_password_is_typed_again(
    enrolled: Player,
) -> None:
    enrolled.web.clock.advance(timedelta(minutes=6))
    for path in ("/me/password", "/me/phone", "/set-up"):
        assert location_of(await enrolled.http.get(path)) == f"/code?then={path}"
    for path, form in (
        ("/me/backup-codes", {}),
        ("/me/two-factor/totp/remove", {}),
        ("/me/phone", {"phone": PHONE}),
        ("/me/password", {"current_password": PASSWORD, "new_password": NEW}),
    ):
        answer = await enrolled.send(path, **form)
        assert (answer.status_code, answer.headers["location"]) == (307, f"/code/before?then={path}")
    assert location_of(await enrolled.send("/me/details", name="Mina", language="")) == "/me?done=saved"
    form = {"csrf": await enrolled.token_in("/me"), "method": "totp", "code": enrolled.person.code()}
    await enrolled.http.post("/code", data=form)
    assert location_of(await enrolled.send("/me/password")) == "/me/password?done=stepped-up"


async def test_a_button_that_needs_a_fresh_code_is_pressed_once_it_is_given(enrolled: Player) -> None:
    enrolled.web.clock.advance(timedelta(minutes=6))
    asked = await enrolled.http.post(
        "/code/before?then=/me/backup-codes", data={"csrf": await enrolled.token_in("/me")}
    )
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    given = await enrolled.http.post("/code", data={**form, "method": "totp", "code": enrolled.person.code()})
    assert (given.status_code, given.headers["location"]) == (307, "/me/backup-codes")
    assert len(codes_in((await enrolled.http.post("/me/backup-codes", data=form)).text)) == 10


async def test_r04_turning_off_says_what_ends_and_is_refused_in_plain_words_where_it_is_required(
    enrolled: Player, clinic: SomeClinic
) -> None:
    path = "/me/two-factor/totp/remove"
    assert "your password alone will open your account" in await enrolled.words(path)
    await clinic.require_here()
    words = await enrolled.words(path)
    assert "This cannot be turned off" in words
    assert "Harbour Clinic has required a code at sign-in" in words
    assert "Turn it off" not in await enrolled.text(path)
    refused = await enrolled.send(path)
    assert refused.status_code == 409
    assert "this is the only one you have" in words_of(refused.text)
    await clinic.require_here(require_two_factor=False)
    assert location_of(await enrolled.send(path)) == "/me?done=turned-off"
    assert "Two-factor authentication off" in await enrolled.words("/me")
    assert location_of(await enrolled.http.get(path)) == "/me"
    assert (await enrolled.http.get("/me/two-factor/backup_code/remove")).status_code in (404, 422)


async def test_r02_new_backup_codes_kill_the_old_and_are_shown_copied_and_saved(enrolled: Player) -> None:
    made = await enrolled.send("/me/backup-codes")
    codes = codes_in(made.text)
    assert len(set(codes)) == 10
    assert not set(codes) & set(enrolled.person.backup_codes)
    assert "The old ones no longer work" in words_of(made.text)
    assert made.headers["cache-control"] == "no-store"
    (saved,) = re.findall(r'href="data:text/plain;charset=utf-8,([^"]+)"', made.text)
    text = unquote(saved)
    assert all(f"{code}\r\n" in text for code in codes)
    assert enrolled.person.email in text
    assert re.search(r'<input type="checkbox" id="safe" name="safe" value="yes" required', made.text)
    forged = await enrolled.send("/me/backup-codes/kept", codes="<b>not a code</b>", why="<i>")
    assert location_of(forged) == "/me?done=codes-kept"
    await enrolled.person.sign_in()
    assert (await enrolled.person.prove(enrolled.person.backup_codes[0], "backup_code")).status_code == 422
    assert (await enrolled.person.prove(codes[0], "backup_code")).status_code == 200


async def test_r11_sign_ins_are_listed_this_one_marked_and_ended_one_by_one_or_all_others(enrolled: Player) -> None:
    person, tokens = enrolled.person, []
    for _ in range(3):
        await person.sign_in_in_full()
        tokens.append(person.token)
    page = await enrolled.text("/me")
    others = re.findall(r'name="session" value="([^"]+)"', page)
    assert len(others) == 3
    assert page.count("this one") == 1
    assert location_of(await enrolled.send("/me/sessions/end", session=others[0])) == "/me?done=session-ended"

    async def alive() -> list[bool]:
        answers = [await person.stack.call("GET", "/v1/session", token=token) for token in tokens]
        return [answer.status_code == 200 for answer in answers]

    assert sorted(await alive()) == [False, True, True]
    await enrolled.send("/me/sessions/end", session="ses_of_somebody_else")
    assert sorted(await alive()) == [False, True, True]
    assert location_of(await enrolled.send("/me/sessions/end")) == "/me?done=sessions-ended"
    assert await alive() == [False, False, False]
    assert "End all other sign-ins" not in await enrolled.text("/me")


async def test_r10_a_remembered_browser_is_listed_and_asked_again_once_it_is_ended(
    stack: Stack, enrolled: Player, clinic: SomeClinic
) -> None:
    person = enrolled.person
    await clinic.require_here(require_two_factor=None, remember_device_days=30)
    await person.sign_in()
    body = {"method": "totp", "code": person.code(), "remember_device": True}
    device_token = (await person.prove_raw(body)).json()["device_token"]
    page = await enrolled.text("/me")
    assert "until 16 December 2026" in words_of(page)
    (path,) = re.findall(r'action="(/me/browsers/[^"]+/end)"', page)
    for _ in range(2):  # a second tab
        assert location_of(await enrolled.send(path)) == "/me?done=browser-ended"
    assert "Browsers that need no code" not in await enrolled.text("/me")
    assert (await person.sign_in(device_token=device_token))["state"] == "second_factor_required"


async def test_a_notice_is_shown_until_it_is_dismissed(enrolled: Player) -> None:
    page = await enrolled.text("/me")
    assert "An authenticator app was set up for your account" in words_of(page)
    for path in re.findall(r'action="(/me/notices/[^"]+/dismiss)"', page):
        assert location_of(await enrolled.send(path)) == "/me"
    assert "Recent activity on your account" not in await enrolled.text("/me")
