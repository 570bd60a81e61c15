"""The pages in a real browser: signing in, a forced set-up with the code read from the picture on the screen, backup
codes, signing out, and in again with a code. No page breaks its own content security policy."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.end_to_end.client import Authenticator, Person, new_number, ok, problem
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import Stack

_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_QUIET.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser of its own; fails the test that used it where a page broke its policy or a script died."""
    context = browser.new_context(viewport={"width": 900, "height": 1100}, device_scale_factor=2)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    # Chromium also reports each 4xx answer here; those are what some tests are about.
    assert not [text for text in complaints if "Failed to load resource" not in text]


def sign_in(page: Page, stack: Stack, person: Person) -> None:
    page.goto(f"{stack.public_url}/c/{person.clinic}")
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in").click()


def scanned(page: Page, folder: Path) -> str:
    """The text of the QR code that is on the screen."""
    picture = folder / "screen.png"
    page.screenshot(path=str(picture))
    command = ["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_the_whole_story_in_a_browser(clinic: Clinic, page: Page, tmp_path: Path) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True, phone_required=False)

    sign_in(page, clinic.stack, person)
    expect(page.get_by_role("heading", name="One thing before you continue")).to_be_visible()
    # A26: typing another address leads back to what is still missing.
    page.goto(f"{clinic.stack.public_url}/me")
    expect(page.get_by_role("button", name="Use an app")).to_be_visible()
    page.get_by_role("button", name="Use an app").click()

    uri = scanned(page, tmp_path)
    secret = parse_qs(urlsplit(uri).query)["secret"][0]
    assert page.locator(".key").inner_text().replace(" ", "") == secret
    phone = Authenticator(secret)
    page.get_by_label("six digits").fill(phone.wrong_code())
    expect(page.get_by_role("alert")).to_be_visible()
    assert parse_qs(urlsplit(scanned(page, tmp_path)).query)["secret"] == [secret], "the same key after a typing error"
    page.get_by_label("six digits").fill(phone.code())
    page.get_by_role("button", name="Turn it on").click()

    codes = page.get_by_role("list", name="Backup codes").get_by_role("listitem").all_inner_texts()
    assert len(codes) == 10
    page.get_by_label("I have put them somewhere safe").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name=person.name)).to_be_visible()
    expect(page.get_by_text("10 left")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{clinic.stack.public_url}/me")
    expect(page.get_by_role("heading", name=person.name)).to_have_count(0)

    sign_in(page, clinic.stack, person)
    box = page.get_by_label("Six digits")
    expect(box).to_be_visible()
    assert box.get_attribute("autocomplete") == "one-time-code"
    box.fill(phone.last_code())
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Six digits").fill(phone.code())
    page.get_by_role("button", name="Continue").click()  # one that mends a wrong code does not go off by itself
    expect(page.get_by_role("heading", name=person.name)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()

    sign_in(page, clinic.stack, person)
    page.get_by_role("link", name=re.compile("backup code", re.I)).click()
    page.get_by_label("Backup code").fill(codes[0].lower())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("9 left")).to_be_visible()


def test_a_forced_set_up_asks_for_the_number_first(clinic: Clinic, page: Page) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True)
    sign_in(page, clinic.stack, person)
    page.get_by_label("Mobile number").fill("12")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Mobile number").fill("+1 202 555 0117")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Use an app")).to_be_visible()


def test_an_invitation_is_taken_up_in_the_browser(shared: Clinic, page: Page) -> None:
    person, activation = shared.invite()
    assert activation["url"].startswith(shared.stack.public_url)
    page.goto(activation["url"])
    expect(page.get_by_role("heading", name=f"Welcome, {person.name}")).to_be_visible()
    page.get_by_label("New password").fill("short")
    page.get_by_label("New password").evaluate("box => box.removeAttribute('minlength')")
    page.get_by_role("button", name="Save the password").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("New password").fill(person.password)
    page.get_by_role("button", name="Save the password").click()
    page.wait_for_load_state()
    assert shared.client().sign_in(person)["state"] == "active"
    page.goto(activation["url"])
    expect(page.get_by_label("New password")).to_have_count(0)


def test_a_text_message_in_the_browser(shared: Clinic, page: Page) -> None:
    person, _ = shared.member()
    sign_in(page, shared.stack, person)
    page.get_by_role("link", name="Set it up").click()
    number = new_number()
    page.get_by_label("Mobile number").fill(number)
    page.get_by_role("button", name="Text me a code").click()
    page.get_by_label(re.compile("six digits", re.I)).fill(shared.texted(number))
    expect(page.get_by_role("list", name="Backup codes").get_by_role("listitem")).to_have_count(10)


def test_an_administrator_requires_it_of_everyone_in_the_browser(clinic: Clinic, page: Page) -> None:
    _, client = clinic.member()
    clinic.desk.enrol_totp(clinic.admin)
    sign_in(page, clinic.stack, clinic.admin)
    page.get_by_label("Six digits").fill(clinic.admin.app.code())
    page.get_by_role("link", name="Security").click()
    page.get_by_role("checkbox", name="require it of everyone").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="What this will do")).to_be_visible()
    page.get_by_role("button", name="Save it").first.click()
    expect(page.get_by_role("status")).to_contain_text("From now on")
    expect(page.get_by_role("checkbox", name="require it of everyone")).to_be_checked()
    assert ok(clinic.desk.get("/v1/clinic/security"))["require_two_factor"] is True
    page.wait_for_timeout(2000)
    problem(client.get("/v1/me/sessions"), 403, "enrolment-required")


def test_a_wrong_password_keeps_the_address_and_not_the_password(shared: Clinic, page: Page) -> None:
    person = shared.person()
    sign_in(page, shared.stack, Person(person.clinic, person.email))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_have_value(person.email)
    expect(page.get_by_label("Password")).to_have_value("")
    assert page.get_by_label("Password").get_attribute("type") == "password"
    assert page.get_by_label("Password").get_attribute("autocomplete") == "current-password"
