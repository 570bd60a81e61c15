"""Parts that several flows share, in every manner: to My info, out again, through a set-up, and waiting for a text."""

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
from playwright.sync_api import Page, expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Authenticator, Person

MY_INFO = re.compile(r"/me(\?|$)")
SET_UP = re.compile(r"/set-up(\?|$)")
SIGN_IN = re.compile(r"/c/[^/]+$")
SIGN_IN_AGAIN = re.compile(r"/c/[^/?]+\?done=over$")
"""Where a click leads whose session has ended."""
APP, BACKUP_CODE, TEXT = "totp", "backup_code", "sms"


def arrive(surfer: Surfer, person: Person, code: str = "") -> Page:
    """Signs in, with a code where one is given, up to My info."""
    page = surfer.sign_in(person)
    if code:
        surfer.give(code)
    expect(page).to_have_url(MY_INFO)
    return page


def arrive_by_backup_code(surfer: Surfer, person: Person) -> Page:
    page = surfer.sign_in(person)
    give_backup_code(surfer, person.backup_codes.pop(0))
    expect(page).to_have_url(MY_INFO)
    return page


def give_backup_code(surfer: Surfer, code: str) -> None:
    """From the page that asks for a code."""
    take_the_way(surfer, BACKUP_CODE)
    surfer.fill("#code", code)
    surfer.press("form:has(#code) button")


def take_the_way(surfer: Surfer, method: str) -> None:
    """Another way to prove who one is."""
    surfer.press(f'.others a[href*="method={method}"]')
    expect(surfer.page).to_have_url(re.compile(f"method={method}"))


def is_refused(surfer: Surfer) -> None:
    expect(surfer.page.get_by_role("alert")).to_be_visible()


def sign_out(surfer: Surfer) -> None:
    """Or, at a shared computer, hands over to somebody else."""
    surfer.press("form.sign-out button")
    expect(surfer.page.locator("#password")).to_be_visible()


def is_ended(surfer: Surfer) -> None:
    """The next click of whoever was signed in leads to the sign-in page, which says why."""
    surfer.press('nav a[href$="/me"]')
    expect(surfer.page).to_have_url(SIGN_IN_AGAIN)
    expect(surfer.page.get_by_role("status")).to_be_visible()
    expect(surfer.page.locator("#password")).to_be_visible()


def scan(surfer: Surfer, folder: Path) -> Authenticator:
    """From the page that asks how: a phone's app that has read the picture, whose key stands below it too."""
    surfer.press('form[action$="/set-up/totp"] button')
    expect(surfer.page.locator(".qr svg")).to_be_visible()
    secret = parse_qs(urlsplit(surfer.scanned(folder)).query)["secret"][0]
    assert surfer.page.locator("#key").inner_text().replace(" ", "").replace("\n", "") == secret
    return Authenticator(secret)


def scan_and_confirm(surfer: Surfer, person: Person, folder: Path) -> None:
    """From the page that asks how, over the picture and a code, to where the backup codes are put away."""
    person.authenticator = scan(surfer, folder)
    surfer.give(person.app.code())
    put_away(surfer, person)


def put_away(surfer: Surfer, person: Person) -> None:
    """The ten backup codes, kept, and the tick without which it does not go on."""
    expect(surfer.page.locator(".codes li")).to_have_count(10)
    person.backup_codes = surfer.page.locator(".codes li").all_inner_texts()
    surfer.tick("#safe")
    surfer.press("form:has(#safe) button")
    expect(surfer.page).to_have_url(MY_INFO)


def hold_up(surfer: Surfer, number: str) -> None:
    """The next text to this number goes out only at the second try, so that it is seen on its way."""
    fault = {"kind": "429", "to": number, "retry_after": 1}
    assert httpx.post(f"{surfer.stack.twilio}/faults", json=fault, trust_env=False).status_code == 200


def see_delivered(surfer: Surfer, number: str) -> None:
    """A text on its way, until it has arrived: told by itself where scripts run, and by looking again where none do."""
    page = surfer.page
    told = page.locator("[role=status]", has_text=f"{number[:3]} ••••{number[-2:]}")
    expect(told).to_be_visible()
    arrived = told.locator("[data-over]:not(.wrong)")
    expect(arrived).to_have_count(0)
    if surfer.has_scripts:
        page.evaluate("window.stays = true")
        expect(arrived).to_be_visible(timeout=20_000)
        assert page.evaluate("window.stays"), "the page was not loaded anew"
        return
    ends_at = time.monotonic() + 20
    while not arrived.count():
        assert time.monotonic() < ends_at, told.inner_text()
        with page.expect_navigation():
            surfer.press("noscript a")


def another(code: str) -> str:
    """A code that is not this one."""
    return f"{(int(code) + 1) % 1_000_000:06}"
