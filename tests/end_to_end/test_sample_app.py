"""The interrupted note (R12), in the sample app that client developers copy: what is being written while a session
stops is kept, and saved once, and never under another person's name.

The local stack runs the app; on Compose it stands behind Caddy, and SAMPLE_APP says where (deploy/compose_test.sh)."""

import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.end_to_end.administering import SAVE, SAVE_IT, at_desk, done, set_up
from tests.end_to_end.browsing import Surfer, chromium
from tests.end_to_end.client import Person
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.manners import Manner, in_every_manner_with_scripts
from tests.end_to_end.stack import ROOT, LocalStack, Stack

SAMPLE_APP = os.environ.get("SAMPLE_APP", "")
EDGE = os.environ.get("EDGE", "")
pytestmark = [pytest.mark.timeout(120)]
if not SAMPLE_APP:
    pytestmark.append(pytest.mark.local_only("the sample app stands behind Caddy, which is not part of this run"))
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
def surfers(browser: Browser, clinic: Clinic, app: str, manner: Manner) -> Iterator[OpenBrowser]:
    """As in conftest.py, and the app is no foreign origin to them."""
    opened: list[Surfer] = []

    def open_one() -> Surfer:
        opened.append(Surfer(browser, clinic.stack, ignore_https_errors=True, **manner.options))
        opened[-1].origins.add(app)
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def sign_in(surfer: Surfer, person: Person) -> None:
    """From wherever the browser was led: the clinic, e-mail and password."""
    surfer.page.wait_for_load_state()
    if surfer.page.locator("#clinic").count():
        surfer.fill("#clinic", person.clinic)
        surfer.press("main form button")
    surfer.fill("#email", person.email)
    surfer.fill("#password", person.password)
    surfer.press("main form:has(#password) button")


def begun(surfer: Surfer, app: str, person: Person) -> Page:
    """A note that is being written by somebody who came to the app and was led to the sign-in."""
    page = surfer.page
    page.goto(f"{app}/")
    sign_in(surfer, person)
    expect(page).to_have_url(f"{app}/")
    surfer.fill("#text", NOTE)
    return page


def go_to_tab(surfer: Surfer) -> Page:
    """The second tab that the page offers, which is looked at from here on."""
    with surfer.page.context.expect_page() as opened:
        surfer.press("#way a")
    surfer.page = opened.value
    return surfer.page


def go_back(surfer: Surfer, page: Page) -> None:
    """Closes the second tab."""
    surfer.page.close()
    surfer.page = page
    page.bring_to_front()


def saved_notes(page: Page, app: str) -> list[str]:
    fresh = page.context.new_page()
    fresh.goto(f"{app}/")
    found = fresh.locator("#notes li").all_inner_texts()
    fresh.close()
    return found


def answers_in(page: Page) -> list[int]:
    """What each save is answered, as it comes."""
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status) if "/notes/" in answer.url else None)
    return answers


def require_of_everyone(surfer: Surfer, clinic: Clinic) -> None:
    """As an administrator does it, at a browser of their own."""
    page = at_desk(surfer, clinic)
    surfer.tick("#require_two_factor")
    surfer.tick("#phone_required", on=False)
    surfer.press(SAVE)
    expect(page.locator(".totals")).to_be_visible()
    surfer.press(SAVE_IT)
    expect(page).to_have_url(done("rule-on"))


def not_saved(page: Page) -> None:
    """It says so, and why; and what was written is there."""
    expect(page.get_by_role("status")).to_contain_text("Not saved yet; your note is kept here.")
    expect(page.locator("#text")).to_be_visible()
    expect(page.locator("#text")).to_have_value(NOTE)


@in_every_manner_with_scripts
def test_r12_a_note_is_kept_while_two_factor_is_required_of_everyone_and_saved_once(
    surfers: OpenBrowser, app: str, clinic: Clinic
) -> None:
    person = clinic.person()
    surfer = surfers()
    page = begun(surfer, app, person)
    answers = answers_in(page)
    require_of_everyone(surfers(), clinic)
    surfer.press("form button")
    not_saved(page)
    expect(page.get_by_role("status")).to_contain_text(clinic.name)  # why, as the clinic's rule is said
    assert answers == [403]

    tab = go_to_tab(surfer)
    expect(tab).to_have_url(re.compile(r"/set-up\?return_to="))
    set_up(surfer, person)
    expect(tab).to_have_url(f"{app}/back")
    expect(tab.get_by_text("press “Save again”")).to_be_visible()
    go_back(surfer, page)
    surfer.press("form button")
    said = page.get_by_role("status")
    expect(said).to_have_text("Saved.")
    expect(page.locator("#text")).to_have_value(NOTE)
    assert saved_notes(page, app) == [NOTE]
    with page.expect_response("**/notes/*"):
        surfer.press("form button")
    expect(said).to_have_text("Saved.")
    assert answers == [403, 200, 200]
    assert saved_notes(page, app) == [NOTE], "the same save again is the same note"


@in_every_manner_with_scripts
def test_r12_a_note_goes_along_to_the_set_up_and_back_in_the_same_tab(
    surfers: OpenBrowser, app: str, clinic: Clinic
) -> None:
    person = clinic.person()
    surfer = surfers()
    page = begun(surfer, app, person)
    answers = answers_in(page)
    require_of_everyone(surfers(), clinic)
    surfer.press("form button")
    not_saved(page)
    surfer.press("#here")
    expect(page).to_have_url(re.compile(r"/set-up\?return_to="))
    set_up(surfer, person)
    expect(page).to_have_url(f"{app}/")
    not_saved(page)
    assert saved_notes(page, app) == []
    assert page.evaluate("sessionStorage.length") == 0, "nothing stays behind"
    surfer.press("form button")
    expect(page.get_by_role("status")).to_have_text("Saved.")
    assert answers == [403, 200]
    assert saved_notes(page, app) == [NOTE]


@in_every_manner_with_scripts
def test_a_note_that_waits_in_a_tab_is_nobody_elses(surfers: OpenBrowser, app: str, clinic: Clinic) -> None:
    author, other = clinic.person(), clinic.person()
    surfer = surfers()
    page = begun(surfer, app, author)
    clinic.require(require_two_factor=True, phone_required=False)
    surfer.press("form button")
    not_saved(page)
    surfer.press("#here")
    expect(page).to_have_url(re.compile(r"/set-up\?return_to="))
    surfer.press("form.sign-out button")
    expect(page).to_have_url(done("signed-out"))
    clinic.require(require_two_factor=False)
    page.goto(f"{app}/")
    sign_in(surfer, other)
    expect(page).to_have_url(f"{app}/")
    expect(page.locator("#text")).to_have_value("")
    assert page.evaluate("sessionStorage.length") == 0


@in_every_manner_with_scripts
def test_r12_a_note_waits_for_its_author_to_come_back_and_is_saved_by_nobody_else(
    surfers: OpenBrowser, app: str, clinic: Clinic
) -> None:
    author, other = clinic.person(), clinic.person()
    surfer = surfers()
    page = begun(surfer, app, author)
    clinic.stack.goes_idle(author.id)
    said = page.get_by_role("status")
    surfer.press("form button")
    expect(said).to_contain_text("Not saved yet")
    expect(said).to_contain_text("nothing happened for a while")
    expect(page.locator("#text")).to_be_hidden()
    expect(page.locator("#here")).to_be_hidden()

    tab = go_to_tab(surfer)
    sign_in(surfer, other)
    expect(tab).to_have_url(f"{app}/back")
    go_back(surfer, page)
    surfer.press("form button")
    expect(said).to_contain_text("Somebody else is signed in now")
    expect(page.locator("#text")).to_be_hidden()
    assert saved_notes(page, app) == []

    tab = go_to_tab(surfer)
    sign_in(surfer, author)
    expect(tab).to_have_url(f"{app}/back")
    go_back(surfer, page)
    surfer.press("form button")
    expect(said).to_have_text("Saved.")
    expect(page.locator("#text")).to_be_visible()
    expect(page.locator("#text")).to_have_value(NOTE)
    assert saved_notes(page, app) == [NOTE]


@pytest.mark.parametrize("manner", [Manner("desk")], ids=["desk"])
def test_a_save_that_another_site_or_nobody_sends_is_refused(surfer: Surfer, app: str, clinic: Clinic) -> None:
    page = begun(surfer, app, clinic.person())
    author = page.locator("body").get_attribute("data-user") or ""
    cookies = "; ".join(f"{cookie.get('name')}={cookie.get('value')}" for cookie in page.context.cookies(app))

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
