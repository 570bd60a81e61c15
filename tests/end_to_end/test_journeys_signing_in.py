"""Signing in, as staff meet it in a browser: with a code by text message or from the list, in a browser that is
remembered, with a phone whose clock is wrong, and without the password."""

import re

import pytest
from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import new_password, step_now, totp
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.flows import (
    MY_INFO,
    another,
    arrive,
    give_backup_code,
    hold_up,
    is_refused,
    put_away,
    see_delivered,
    sign_out,
)
from tests.end_to_end.manners import in_every_manner_of_staff

pytestmark = [in_every_manner_of_staff, pytest.mark.timeout(120)]


def test_r20_a_text_is_followed_until_it_has_arrived_and_a_wrong_code_is_mended(surfer: Surfer, clinic: Clinic) -> None:
    person, _client = clinic.enrolled_by_sms()
    page = surfer.sign_in(person)
    hold_up(surfer, person.phone)
    surfer.press('form[action$="/code/text"] button')
    see_delivered(surfer, person.phone)
    code = clinic.texted(person.phone, seen=1)
    surfer.give(another(code))
    is_refused(surfer)
    expect(page.locator("#code")).to_have_value(another(code))
    surfer.give(code)
    expect(page).to_have_url(MY_INFO)


def test_r02_a_backup_code_is_spent_and_new_ones_stop_the_old(surfer: Surfer, clinic: Clinic) -> None:
    person, _client = clinic.enrolled()
    page = surfer.sign_in(person)
    give_backup_code(surfer, person.backup_codes.pop(0).lower().replace("-", " "))
    expect(page).to_have_url(MY_INFO)
    left = page.locator("#two-factor .row", has=page.locator('form[action$="/me/backup-codes"]')).locator(".soft")
    expect(left).to_contain_text(re.compile(r"^\D*9\b"))
    old = person.backup_codes
    surfer.press('form[action$="/me/backup-codes"] button')
    put_away(surfer, person)
    expect(left).to_contain_text(re.compile(r"^\D*10\b"))
    sign_out(surfer)
    surfer.sign_in(person)
    give_backup_code(surfer, old[0])
    is_refused(surfer)
    surfer.fill("#code", person.backup_codes.pop())
    surfer.press("form:has(#code) button")
    expect(page).to_have_url(MY_INFO)


def test_r10_a_remembered_browser_is_asked_for_no_code_until_its_owner_ends_that(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    clinic.require(remember_device_days=7)
    person, _client = clinic.enrolled()
    mine, other = surfers(), surfers()
    page = mine.sign_in(person)
    mine.tick("#remember")
    mine.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    sign_out(mine)
    arrive(mine, person)
    other.sign_in(person)
    expect(other.page.locator("#code")).to_be_visible()
    mine.press("#browsers form button")
    mine.give(person.app.code())  # at once: nothing was proven here since it was remembered
    expect(page).to_have_url(MY_INFO)
    expect(page.locator("#browsers")).to_have_count(0)
    sign_out(mine)
    mine.sign_in(person)
    expect(page.locator("#code")).to_be_visible()


def test_r09_a_phone_that_is_seven_minutes_wrong_is_told_so_with_the_steps_to_mend_it(
    surfer: Surfer, clinic: Clinic
) -> None:
    person, _client = clinic.enrolled()
    page = surfer.sign_in(person)
    ahead = step_now(within=20) + 14
    surfer.give(totp(person.app.secret, ahead))
    is_refused(surfer)
    expect(page.get_by_role("note")).to_have_count(0)  # one code may be anything
    surfer.give(totp(person.app.secret, ahead + 1))
    advice = page.get_by_role("note")
    expect(advice).to_contain_text(re.compile(r"\b7 minut", re.I))
    for kind in ("iPhone", "Android"):
        expect(advice.locator("li", has_text=kind)).to_be_visible()
    surfer.give(person.app.code())
    expect(page).to_have_url(MY_INFO)


def test_a_forgotten_password_is_replaced_by_a_link_from_the_administrator(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    person, _client = clinic.enrolled()
    clinic.desk.enrol_totp(clinic.admin)
    mine, administrators = surfers(), surfers()
    page = mine.go(f"/c/{clinic.slug}")
    mine.press('main a[href$="/forgotten"]')
    expect(page.locator("ol.steps")).to_be_visible()
    expect(page.get_by_text(clinic.admin.name)).to_have_count(0)  # nobody has proven anything yet

    at_desk = arrive(administrators, clinic.admin, clinic.admin.app.code())
    administrators.press('nav a[href$="/users"]')
    administrators.press(f'main a[href$="/users/{person.id}"]')
    administrators.press('form[action$="/reset"] button')
    expect(at_desk.locator("#address")).to_be_visible()
    page.goto(at_desk.locator("#address").inner_text().strip())
    forgotten, person.password = person.password, new_password()
    mine.fill("#password", person.password)
    mine.press("main form button")
    expect(page).to_have_url(f"{clinic.stack.public_url}/c/{clinic.slug}?done=password-saved")

    mine.fill("#email", person.email)
    mine.fill("#password", forgotten)
    mine.press("main form button")
    is_refused(mine)
    mine.fill("#password", person.password)
    mine.press("main form button")
    expect(page.locator("#code")).to_be_visible()  # the app stays as it was
    mine.press('main a[href$="/code/forgotten"]')
    expect(page.get_by_text(clinic.admin.name)).to_be_visible()
    mine.press('main a[href$="/code"]')
    give_backup_code(mine, person.backup_codes[0])
    expect(page).to_have_url(MY_INFO)
