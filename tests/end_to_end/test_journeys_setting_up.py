"""Setting up, as staff meet it in a browser: of one's own will, because the clinic asks, by text message, and on a new
phone."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Authenticator, Person
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.manners import in_every_manner

MY_INFO = re.compile(r"/me(\?|$)")
pytestmark = [in_every_manner, pytest.mark.timeout(120)]


def scan_and_confirm(surfer: Surfer, person: Person, folder: Path) -> None:
    """From the page that asks how, over the picture and a code, to where the backup codes are put away."""
    surfer.press('form[action$="/set-up/totp"] button')
    expect(surfer.page.locator(".qr svg")).to_be_visible()
    secret = parse_qs(urlsplit(surfer.scanned(folder)).query)["secret"][0]
    assert surfer.page.locator("#key").inner_text().replace(" ", "").replace("\n", "") == secret
    person.authenticator = Authenticator(secret)
    surfer.give(person.app.code())
    put_away(surfer, person)


def put_away(surfer: Surfer, person: Person) -> None:
    """The ten backup codes, kept, and the tick without which it does not go on."""
    expect(surfer.page.locator(".codes li")).to_have_count(10)
    person.backup_codes = surfer.page.locator(".codes li").all_inner_texts()
    surfer.tick("#safe")
    surfer.press("form:has(#safe) button")


def test_somebody_sets_an_app_up_of_their_own_will(surfer: Surfer, clinic: Clinic, tmp_path: Path) -> None:
    person = clinic.person()
    page = surfer.sign_in(person)
    surfer.press('#two-factor a[href$="/set-up"]')
    if page.locator('form[action$="/set-up/phone"]').count():
        surfer.fill("#phone", "+447700900123")
        surfer.press('form[action$="/set-up/phone"] button')
    scan_and_confirm(surfer, person, tmp_path)
    expect(page).to_have_url(MY_INFO)
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
    for way in ("/me", "/me/details", "/me/phone"):
        surfer.go(way)
        expect(page).to_have_url(f"{clinic.stack.public_url}/set-up")
    assert page.locator("nav").count() == 0
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/set-up/phone"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    surfer.fill("#phone", "+447700900123")
    surfer.press('form[action$="/set-up/phone"] button')
    scan_and_confirm(surfer, person, tmp_path)
    expect(page).to_have_url(MY_INFO)
    surfer.press("form.sign-out button")
    surfer.sign_in(person)
    surfer.give(person.app.last_code())
    expect(page.get_by_role("alert")).to_be_visible()
    surfer.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
