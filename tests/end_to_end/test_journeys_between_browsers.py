"""What one browser does to another: a shared computer, ending other sign-ins, a new password, and a lost phone that an
administrator helps with."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.end_to_end.client import new_password, ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.flows import (
    MY_INFO,
    SET_UP,
    arrive,
    arrive_by_backup_code,
    is_ended,
    is_refused,
    scan_and_confirm,
    sign_out,
)
from tests.end_to_end.manners import in_every_manner

pytestmark = [in_every_manner, pytest.mark.timeout(120)]


def test_r05_a_computer_that_is_marked_as_shared_remembers_nobody(surfers: OpenBrowser, clinic: Clinic) -> None:
    clinic.require(remember_device_days=7)
    person, _client = clinic.enrolled()
    front_desk = surfers()
    page = front_desk.sign_in(person)
    front_desk.tick("#remember")
    front_desk.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    sign_out(front_desk)
    arrive(front_desk, clinic.admin, clinic.admin.app.code())
    front_desk.press('nav a[href$="/clinic/security"]')
    front_desk.press('form[action$="/clinic/security/shared-computer"] button')
    expect(page.get_by_role("status")).to_be_visible()
    sign_out(front_desk)

    front_desk.sign_in(person)
    expect(page.locator("#code")).to_be_visible()
    expect(page.locator("#remember")).to_have_count(0)
    expect(page.locator("form.sign-out")).to_contain_text(person.name)
    front_desk.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    sign_out(front_desk)
    expect(page.locator("#email")).to_have_value("")
    front_desk.sign_in(person)
    expect(page.locator("#code")).to_be_visible()


def test_r11_ending_all_others_ends_them_at_their_next_click(surfers: OpenBrowser, clinic: Clinic) -> None:
    person, _client = clinic.enrolled()
    mine, other = surfers(), surfers()
    arrive(other, person, person.app.code())
    page = arrive_by_backup_code(mine, person)
    mine.press('form[action$="/me/sessions/end"] button.danger')
    expect(page).to_have_url(f"{clinic.stack.public_url}/me?done=sessions-ended")
    expect(page.locator("#sign-ins .row")).to_have_count(1)
    is_ended(other)
    mine.press('nav a[href$="/me"]')
    expect(page.locator("#sign-ins")).to_be_visible()


def test_r11_a_new_password_ends_the_other_sign_ins_and_the_old_password(surfers: OpenBrowser, clinic: Clinic) -> None:
    person, _client = clinic.enrolled()
    mine, other = surfers(), surfers()
    arrive_by_backup_code(other, person)
    page = arrive(mine, person, person.app.code())
    old, person.password = person.password, new_password()
    mine.press('#details a[href$="/me/password"]')
    mine.fill("#current_password", "not what it is now")
    mine.fill("#new_password", person.password)
    mine.press('form[action$="/me/password"] button')
    is_refused(mine)
    expect(page.locator("#current_password-wrong")).to_be_visible()
    mine.fill("#current_password", old)
    mine.fill("#new_password", person.password)
    mine.press('form[action$="/me/password"] button')
    expect(page).to_have_url(f"{clinic.stack.public_url}/me?done=password-changed")
    is_ended(other)
    other.fill("#email", person.email)
    other.fill("#password", old)
    other.press("main form button")
    is_refused(other)
    arrive(other, person, person.app.code())


def test_r16_whoever_lost_the_phone_is_let_in_once_to_set_a_new_one_up(
    surfers: OpenBrowser, clinic: Clinic, tmp_path: Path
) -> None:
    clinic.require(require_two_factor=True, phone_required=False)
    rule = ok(clinic.desk.get("/v1/clinic/security"))
    person, _client = clinic.enrolled()
    old = person.app
    mine, administrators = surfers(), surfers()
    page = mine.sign_in(person)
    mine.press('.others a[href$="/code/lost"]')
    expect(page.get_by_text(clinic.admin.name)).to_be_visible()

    at_desk = arrive(administrators, clinic.admin, clinic.admin.app.code())
    administrators.press('nav a[href$="/users"]')
    administrators.press(f'main a[href$="/users/{person.id}"]')
    administrators.fill("#bypass_reason", "Lost on the ferry; known by voice.")
    administrators.press('form[action$="/bypass"] button')
    expect(at_desk.get_by_role("status")).to_be_visible()

    mine.sign_in(person)
    expect(page).to_have_url(SET_UP)
    for way in ("/me/password", "/me"):
        mine.go(way)
        expect(page).to_have_url(f"{clinic.stack.public_url}/set-up")
    assert page.locator("nav").count() == 0
    scan_and_confirm(mine, person, tmp_path)
    sign_out(mine)
    mine.sign_in(person)
    mine.give(old.code())
    is_refused(mine)
    mine.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    assert ok(clinic.desk.get("/v1/clinic/security")) == rule
