"""Setting up, as staff meet it in a browser: of one's own will, because the clinic asks, by text message, on a new
phone, after an invitation, with two tabs open; and turning it off."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import new_number
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.flows import (
    APP,
    MY_INFO,
    SET_UP,
    TEXT,
    another,
    arrive,
    arrive_by_backup_code,
    give_backup_code,
    hold_up,
    is_ended,
    is_refused,
    put_away,
    scan,
    scan_and_confirm,
    see_delivered,
    sign_out,
    take_the_way,
)
from tests.end_to_end.manners import in_every_manner_of_staff

pytestmark = [in_every_manner_of_staff, pytest.mark.timeout(120)]


def test_somebody_sets_an_app_up_of_their_own_will(surfer: Surfer, clinic: Clinic, tmp_path: Path) -> None:
    person = clinic.person()
    page = arrive(surfer, person)
    surfer.press('#two-factor a[href$="/set-up"]')
    scan_and_confirm(surfer, person, tmp_path)
    expect(page.locator("#two-factor .badge.on").first).to_be_visible()
    client = clinic.client()
    assert client.sign_in(person)["state"] == "second_factor_required"
    client.prove(person)


def test_r12_whom_the_clinic_asks_sets_up_first_and_has_no_way_around(
    surfer: Surfer, clinic: Clinic, tmp_path: Path
) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True)
    page = surfer.sign_in(person)
    expect(page).to_have_url(SET_UP)
    for way in ("/me/phone", "/me/details", "/me"):
        surfer.go(way)
        expect(page).to_have_url(f"{clinic.stack.public_url}/set-up")
    assert page.locator("nav").count() == 0
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/set-up/phone"] button')
    is_refused(surfer)
    surfer.fill("#phone", "+447700900123")
    surfer.press('form[action$="/set-up/phone"] button')
    app = person.authenticator = scan(surfer, tmp_path)
    key = page.locator("#key").inner_text()
    surfer.give(app.wrong_code())
    is_refused(surfer)
    expect(page.locator("#key")).to_have_text(key)  # what the app has scanned stays good
    surfer.give(app.code())
    put_away(surfer, person)
    sign_out(surfer)
    surfer.go("/me")
    expect(page.locator("#password")).to_be_visible()
    surfer.sign_in(person)
    surfer.give(person.app.last_code())
    is_refused(surfer)
    surfer.give(person.app.code())
    expect(page).to_have_url(MY_INFO)


def test_r20_text_messages_are_set_up_and_the_text_is_followed_until_it_has_arrived(
    surfer: Surfer, clinic: Clinic
) -> None:
    person, number = clinic.person(), new_number()
    page = arrive(surfer, person)
    surfer.press('#two-factor a[href$="/set-up"]')
    hold_up(surfer, number)
    surfer.fill('form[action$="/set-up/sms"] #phone', number)
    surfer.press('form[action$="/set-up/sms"] button')
    see_delivered(surfer, number)
    code = clinic.texted(number)
    surfer.give(another(code))
    is_refused(surfer)
    surfer.give(code)
    put_away(surfer, person)
    expect(page.locator("#two-factor")).to_contain_text(number[-2:])
    assert clinic.client().sign_in(person)["methods"] == [TEXT, "backup_code"]


def test_r04_the_old_phone_works_until_the_new_one_is_confirmed_and_then_no_more(
    surfers: OpenBrowser, clinic: Clinic, tmp_path: Path
) -> None:
    person, _client = clinic.enrolled()
    old, old_codes = person.app, person.backup_codes[2:]
    mine, other = surfers(), surfers()
    arrive_by_backup_code(other, person)
    page = arrive_by_backup_code(mine, person)

    mine.press('#two-factor a[href$="/set-up"]')
    scan(mine, tmp_path)
    mine.press('main a[href$="/set-up"]')  # thought better of it
    expect(page).to_have_url(SET_UP)
    mine.press('main a[href$="/me"]')
    expect(page).to_have_url(MY_INFO)
    sign_out(mine)
    arrive(mine, person, old.code())

    mine.press('#two-factor a[href$="/set-up"]')
    scan_and_confirm(mine, person, tmp_path)
    assert not set(person.backup_codes) & set(old_codes)
    is_ended(other)
    other.sign_in(person)
    other.give(old.code())
    is_refused(other)
    give_backup_code(other, old_codes[0])
    is_refused(other)
    take_the_way(other, APP)
    other.give(person.app.code())
    expect(other.page).to_have_url(MY_INFO)


def test_an_invitation_is_taken_up_and_leads_into_the_set_up_that_the_clinic_asks_for(
    surfer: Surfer, clinic: Clinic, tmp_path: Path
) -> None:
    person, activation = clinic.invite()
    clinic.require(require_two_factor=True, phone_required=False)
    assert activation["url"].startswith(clinic.stack.public_url)
    page = surfer.page
    page.goto(activation["url"])
    expect(page.locator("h1")).to_contain_text(person.name)
    surfer.fill("#password", "passwordpassword")
    surfer.press("main form button")
    is_refused(surfer)
    expect(page.locator("#password-wrong")).to_be_visible()
    surfer.fill("#password", person.password)
    surfer.press("main form button")
    expect(page).to_have_url(f"{clinic.stack.public_url}/c/{clinic.slug}?done=password-saved")
    surfer.fill("#email", person.email)
    surfer.fill("#password", person.password)
    surfer.press("main form button")
    expect(page).to_have_url(SET_UP)
    scan_and_confirm(surfer, person, tmp_path)
    page.goto(activation["url"])
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator("#password")).to_have_count(0)


def test_where_nothing_asks_for_it_an_app_is_turned_off_with_a_fresh_code_and_one_press(
    surfer: Surfer, clinic: Clinic
) -> None:
    clinic.require(remember_device_days=7)
    person, _client = clinic.enrolled()
    surfer.sign_in(person)
    surfer.tick("#remember")
    page = surfer.page
    surfer.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    sign_out(surfer)
    arrive(surfer, person)  # without a code: what follows asks for one
    surfer.press('a[href$="/me/two-factor/totp/remove"]')
    surfer.press('form[action$="/me/two-factor/totp/remove"] button')
    expect(page.locator("#code")).to_be_visible()
    surfer.give(person.app.wrong_code())
    is_refused(surfer)
    surfer.give(person.app.code())
    expect(page).to_have_url(f"{clinic.stack.public_url}/me?done=turned-off")
    expect(page.locator("#two-factor .badge")).not_to_have_count(0)
    expect(page.locator("#two-factor .badge.on")).to_have_count(0)
    assert clinic.client().sign_in(person)["state"] == "active"


def test_a26_a_set_up_goes_on_in_one_tab_whatever_is_tried_in_another(
    surfer: Surfer, clinic: Clinic, tmp_path: Path
) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True, phone_required=False)
    first = surfer.sign_in(person)
    app = person.authenticator = scan(surfer, tmp_path)
    second = surfer.context.new_page()
    surfer.page = second
    surfer.go("/me")
    expect(second).to_have_url(SET_UP)
    surfer.page = first
    surfer.give(app.code())
    put_away(surfer, person)
    surfer.page = second
    surfer.go("/me")
    expect(second.locator("#two-factor .badge.on").first).to_be_visible()
    surfer.press("form.sign-out button")
    expect(second.locator("#password")).to_be_visible()
    surfer.page = first
    surfer.go("/me")
    expect(first.locator("#password")).to_be_visible()
