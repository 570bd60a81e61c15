"""Every page, as everybody meets it: no violation of axe's rules in light and dark, no wider than a phone's screen, at
most 60 kB with all it loads, nothing asked of another origin, nothing said in the console."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.end_to_end.browsing import DESK, PHONE, Surfer, chromium
from tests.end_to_end.client import Authenticator, new_number, new_password, ok
from tests.end_to_end.clinics import Clinic

HELP = ("set-up", "require", "questions", "lost-phone", "administrators")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


pytestmark = pytest.mark.local_only("what axe judges is the same pages on either stack")


@pytest.fixture
def surfer(browser: Browser, clinic: Clinic, request: pytest.FixtureRequest) -> Iterator[Surfer]:
    """On a phone's screen, where a test does not ask for a desk's."""
    opened = Surfer(browser, clinic.stack, viewport=getattr(request, "param", PHONE))
    yield opened
    opened.close()


def test_pages_before_signing_in(surfer: Surfer, clinic: Clinic) -> None:
    _person, activation = clinic.invite()
    token = activation["token"]
    for path in ("/?again", f"/c/{clinic.slug}", f"/c/{clinic.slug}/forgotten", "/help", f"/activate/{token}"):
        surfer.go(path)
        surfer.check()
    for topic in HELP:
        surfer.go(f"/help/{topic}")
        expect(surfer.page.locator("h1")).to_be_visible()
        surfer.check()
    surfer.go("/activate/no-such-link")
    expect(surfer.page.locator("h1")).to_be_visible()
    surfer.check()
    surfer.go("/nowhere")
    surfer.check()
    surfer.go(f"/c/{clinic.slug}")
    surfer.page.locator("#email").fill("nobody@harbour.example")
    surfer.page.locator("#password").fill("not the right password")
    surfer.page.locator("main form button").first.click()
    expect(surfer.page.get_by_role("alert")).to_be_visible()
    surfer.check()


def test_pages_of_somebody_who_must_set_up(surfer: Surfer, clinic: Clinic, tmp_path: Path) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True)
    page = surfer.sign_in(person)
    expect(page.locator("#phone")).to_be_visible()
    surfer.check()
    page.locator("#phone").fill("123")
    page.locator('form[action$="/set-up/phone"] button').click()
    expect(page.get_by_role("alert")).to_be_visible()
    surfer.check()
    page.locator("#phone").fill("+447700900123")
    page.locator('form[action$="/set-up/phone"] button').click()
    for fold in page.locator("summary").all():
        fold.click()
    surfer.check()
    page.locator('form[action$="/set-up/totp"] button').click()
    expect(page.locator(".qr svg")).to_be_visible()
    surfer.check()
    app = Authenticator(parse_qs(urlsplit(surfer.scanned(tmp_path)).query)["secret"][0])
    surfer.give(app.wrong_code())
    expect(page.get_by_role("alert")).to_be_visible()
    surfer.check()
    surfer.give(app.code())
    expect(page.locator(".codes li")).to_have_count(10)
    surfer.check()


def test_pages_of_somebody_who_signs_in(surfer: Surfer, clinic: Clinic) -> None:
    person, _phone = clinic.enrolled()
    clinic.require(remember_device_days=30)
    page = surfer.sign_in(person)
    expect(page.locator("#code")).to_be_visible()
    surfer.check()
    surfer.go("/code?method=backup_code")
    surfer.check()
    for path in ("/code/lost", "/code/forgotten"):
        surfer.go(path)
        surfer.check()
    surfer.go("/code")
    assert person.authenticator is not None
    surfer.give(person.authenticator.code())
    page.wait_for_url("**/me*")
    surfer.check()
    for path in ("/me/details", "/me/phone", "/me/password", "/me/two-factor/totp/remove", "/set-up", "/help"):
        surfer.go(path)
        surfer.check()
    surfer.go("/me/password")
    page.locator("#current_password").fill("not what it is now")
    page.locator("#new_password").fill(new_password())
    page.locator('form[action$="/me/password"] button').click()
    expect(page.locator("#current_password-wrong")).to_be_visible()
    surfer.check()
    surfer.go("/me/phone")
    page.locator("#phone").fill(new_number())
    page.locator('form[action$="/me/phone"] button').first.click()
    expect(page.locator("#code")).to_be_visible()
    surfer.check()


def test_the_page_that_tells_of_a_rule_to_come(surfer: Surfer, clinic: Clinic) -> None:
    person = clinic.person()
    coming = datetime.now(UTC) + timedelta(days=3)
    clinic.require(require_two_factor=True, enforce_from=coming.isoformat(timespec="seconds"))
    page = surfer.go(f"/c/{clinic.slug}?return_to={quote(clinic.stack.public_url + '/me/details', safe='')}")
    page.locator("#email").fill(person.email)
    page.locator("#password").fill(person.password)
    page.locator("main form button").first.click()
    page.wait_for_url("**/announced")
    surfer.check()
    surfer.go("/me")
    surfer.check()


def test_a_text_that_is_waited_for(surfer: Surfer, clinic: Clinic) -> None:
    person, _phone = clinic.enrolled_by_sms()
    page = surfer.sign_in(person)
    surfer.check()
    page.locator('form[action$="/code/text"] button').first.click()
    expect(page.locator("#code")).to_be_visible()
    surfer.check()
    surfer.give(clinic.texted(person.phone, seen=1))
    page.wait_for_url("**/me*")


@pytest.mark.parametrize("surfer", [PHONE, DESK], indirect=True, ids=["phone", "desk"])
def test_pages_of_an_administrator(surfer: Surfer, clinic: Clinic) -> None:
    person = clinic.person()
    clinic.enrolled()
    clinic.require(remember_device_days=7)
    ok(clinic.desk.put("/v1/clinic/integrations/accounting", {"requires_two_factor": True}))
    page = surfer.sign_in(clinic.admin)
    assert clinic.admin.authenticator is not None
    surfer.give(clinic.admin.authenticator.code())
    page.wait_for_url("**/me*")
    lists = ("/users", "/users?show=missing", "/users?q=nobody-of-this-name", "/audit", "/audit?person=nobody")
    for path in ("/me", "/clinic/security", "/clinic/security/holds", "/users/new", *lists):
        surfer.go(path)
        for fold in page.locator("main summary").all():
            fold.click()
        surfer.check()
    surfer.go(f"/users/{person.id}")
    for fold in page.locator("main summary").all():
        fold.click()
    surfer.check()
    surfer.go("/users/new")
    page.locator("#name").fill("Nia Newcomer")
    page.locator("#email").fill(f"nia@{clinic.slug}.example")
    page.locator('form[action$="/users/new"] button').click()
    expect(page.locator(".qr svg")).to_be_visible()
    surfer.check()
    surfer.go("/clinic/security")
    ok(clinic.desk.delete("/v1/clinic/integrations/accounting"), 204)
    surfer.go("/clinic/security")
    page.get_by_label(re.compile("require it of everyone")).check()
    page.locator(
        'form[action$="/clinic/security/preview"] button[type="submit"], form[action$="/preview"] button'
    ).first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    surfer.check()
