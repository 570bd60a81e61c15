"""The interrupted note (R12), in the sample app that client developers copy: what is being written while a session
stops is kept, and saved once, and never under another person's name.

The local stack runs the app; on Compose it stands behind Caddy, and SAMPLE_APP says where (deploy/compose_test.sh)."""

import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.end_to_end.browsing import chromium
from tests.end_to_end.client import Authenticator, Person, ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import ROOT, LocalStack, Stack

SAMPLE_APP = os.environ.get("SAMPLE_APP", "")
EDGE = os.environ.get("EDGE", "")
if not SAMPLE_APP:
    pytestmark = pytest.mark.local_only("the sample app stands behind Caddy, which is not part of this run")
NOTE = "Left knee, 20 minutes.\nSwelling <b>down</b> since Monday."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Caddy has a port of its own in a test, and https://localhost is to lead there.
    port = urlsplit(EDGE).port
    with chromium(*([f"--host-resolver-rules=MAP localhost 127.0.0.1:{port}"] if SAMPLE_APP else [])) as browser:
        yield browser


@pytest.fixture
def app(stack: Stack) -> str:
    """Where the app is."""
    if isinstance(stack, LocalStack):
        return str(stack.told["sample_app"])
    return SAMPLE_APP


@pytest.fixture
def desk(browser: Browser) -> Iterator[BrowserContext]:
    """One computer's browser, which fails the test where a page broke its own policy."""
    context = browser.new_context(locale="en-GB", ignore_https_errors=True)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield context
    context.close()
    assert not [text for text in complaints if "Failed to load resource" not in text]


def sign_in(page: Page, person: Person) -> None:
    """From wherever the browser was led: the clinic, e-mail and password."""
    if page.locator("#clinic").count():
        page.locator("#clinic").fill(person.clinic)
        page.locator("main form button").first.click()
    page.locator("#email").fill(person.email)
    page.locator("#password").fill(person.password)
    page.locator("main form button").first.click()


def set_up(page: Page, person: Person) -> None:
    """An authenticator app, from the page that asks for it to where it leads back."""
    page.locator("form[action$='/set-up/totp'] button").click()
    person.authenticator = Authenticator(page.locator(".key").inner_text().replace(" ", "").replace("\n", ""))
    page.locator("#code").fill(person.app.code())
    page.locator("#safe").check(timeout=15_000)
    page.locator("form:has(#safe) button").click()


def begun(desk: BrowserContext, app: str, person: Person) -> Page:
    """A note that is being written by somebody who came to the app and was led to the sign-in."""
    page = desk.new_page()
    page.goto(f"{app}/")
    sign_in(page, person)
    expect(page).to_have_url(f"{app}/")
    page.locator("#text").fill(NOTE)
    return page


def way_on(page: Page) -> Page:
    """The second tab that the page offers."""
    with page.context.expect_page() as opened:
        page.locator("#way a").click()
    return opened.value


def saved_notes(page: Page, app: str) -> list[str]:
    fresh = page.context.new_page()
    fresh.goto(f"{app}/")
    found = fresh.locator("#notes li").all_inner_texts()
    fresh.close()
    return found


def test_r12_a_note_is_kept_while_two_factor_is_required_of_everyone_and_saved_once(
    desk: BrowserContext, app: str, clinic: Clinic
) -> None:
    person = clinic.person()
    page = begun(desk, app, person)
    clinic.require(require_two_factor=True, phone_required=False)
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status) if "/notes/" in answer.url else None)
    page.get_by_role("button", name="Save").click()
    said = page.get_by_role("status")
    expect(said).to_contain_text("Not saved yet; your note is kept here.")
    expect(said).to_contain_text("has required a code at sign-in")
    assert answers == [403]
    expect(page.locator("#text")).to_be_visible()
    assert page.locator("#text").input_value() == NOTE

    tab = way_on(page)
    expect(tab).to_have_url(re.compile(r"/set-up\b"))
    set_up(tab, person)
    expect(tab).to_have_url(f"{app}/back")
    expect(tab.get_by_text("press “Save again”")).to_be_visible()
    tab.close()
    page.get_by_role("button", name="Save again").click()
    expect(said).to_have_text("Saved.")
    assert page.locator("#text").input_value() == NOTE
    assert saved_notes(page, app) == [NOTE]
    page.get_by_role("button", name="Save").click()
    expect(said).to_have_text("Saved.")
    page.wait_for_timeout(200)
    assert answers == [403, 200, 200]
    assert saved_notes(page, app) == [NOTE], "the same save again is the same note"


def test_r12_a_note_waits_for_its_author_to_sign_in_again_and_is_saved_by_nobody_else(
    desk: BrowserContext, app: str, clinic: Clinic
) -> None:
    """The session is ended from elsewhere, which the app is told as it is told of one that went idle."""
    author, other = clinic.person(), clinic.person()
    page = begun(desk, app, author)
    clinic.desk.enrol_totp(clinic.admin)
    ok(clinic.desk.delete(f"/v1/users/{author.id}/sessions"), 204)
    page.get_by_role("button", name="Save").click()
    said, again = page.get_by_role("status"), page.get_by_role("button", name="Save again")
    expect(said).to_contain_text("Not saved yet")
    expect(page.locator("#text")).to_be_hidden()

    tab = way_on(page)
    sign_in(tab, other)
    expect(tab).to_have_url(f"{app}/back")
    again.click()
    expect(said).to_contain_text("Somebody else is signed in now")
    expect(page.locator("#text")).to_be_hidden()
    assert saved_notes(page, app) == []
    tab.close()

    tab = way_on(page)
    sign_in(tab, author)
    expect(tab).to_have_url(f"{app}/back")
    again.click()
    expect(said).to_have_text("Saved.")
    expect(page.locator("#text")).to_be_visible()
    assert page.locator("#text").input_value() == NOTE
    assert saved_notes(page, app) == [NOTE]


def test_a_save_that_another_site_or_nobody_sends_is_refused(desk: BrowserContext, app: str, clinic: Clinic) -> None:
    page = begun(desk, app, clinic.person())
    author = page.locator("body").get_attribute("data-user") or ""
    cookies = "; ".join(f"{cookie.get('name')}={cookie.get('value')}" for cookie in desk.cookies(app))

    def status(**headers: str) -> int:
        given = {"Host": urlsplit(app).netloc, "X-Author": author, **headers}
        extensions = {"sni_hostname": "localhost"} if SAMPLE_APP else {}
        with httpx.Client(base_url=EDGE if SAMPLE_APP else app, verify=False, trust_env=False, timeout=20) as client:
            path = "/notes/0b9f3a52-6a31-4d3c-9a55-0b2d6f1c7e10"
            return client.put(path, json={"text": "forged"}, headers=given, extensions=extensions).status_code

    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert status(Cookie=cookies, **foreign) in (401, 403)
    assert status() == 401
    assert status(**{"X-Countersign-User": author}) == 401
    assert saved_notes(page, app) == []
    assert status(Cookie=cookies) == 200


def test_the_sample_is_short_enough_to_be_read_and_copied() -> None:
    files = [path for path in (ROOT / "deploy" / "sample_app").iterdir() if path.suffix in (".py", ".html", ".js")]
    assert len(files) >= 4
    assert sum(len(path.read_text().splitlines()) for path in files) < 200
