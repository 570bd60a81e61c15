"""What the journeys of administrators have in common: their desk, the page of the rule and its preview, and the short
ways of those whom it concerns. Everything by selectors, as manners.py wants it."""

import re

from playwright.sync_api import Page, expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Authenticator, Person
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.flows import arrive

SECURITY = "/clinic/security"
SAVE = 'form[action$="/clinic/security/preview"] button'
"""On the page of the rule."""
SAVE_IT = 'form[action$="/clinic/security"] button'
"""On the page that says what a change does, and `BACK` beside it."""
BACK = 'form:has(input[name="back"]) button'
GROUPS = ("stopped_now", "stopped_at_sign_in", "no_factor", "no_phone", "exempt", "unaffected")


def done(name: str) -> re.Pattern[str]:
    """The address of a page that says that this is done."""
    return re.compile(rf"\?done={name}$")


def signed_in(surfer: Surfer, person: Person, path: str = "/me") -> Page:
    """Somebody with an authenticator app, signed in with a fresh code, on this page."""
    arrive(surfer, person, person.app.code())
    return surfer.go(path)


def at_desk(surfer: Surfer, clinic: Clinic, path: str = SECURITY) -> Page:
    """The clinic's administrator the same; a second factor of their own is set up first where they have none."""
    if clinic.admin.authenticator is None:
        clinic.desk.enrol_totp(clinic.admin)
    return signed_in(surfer, clinic.admin, path)


def set_up(surfer: Surfer, person: Person) -> None:
    """From the page that asks how: an app that the key is typed into, a code, and the backup codes put away."""
    surfer.press('form[action$="/set-up/totp"] button')
    key = surfer.page.locator("#key")
    expect(key).to_be_visible()
    person.authenticator = Authenticator("".join(key.inner_text().split()))
    surfer.give(person.app.code())
    expect(surfer.page.locator(".codes li")).to_have_count(10)
    person.backup_codes = surfer.page.locator(".codes li").all_inner_texts()
    surfer.tick("#safe")
    surfer.press("form:has(#safe) button")


def foreseen(page: Page) -> dict[str, set[str]]:
    """Whom the page "What this will do" names in each of its groups, by e-mail address; its numbers must be theirs."""
    expect(page.locator(".totals")).to_be_visible()
    page.wait_for_load_state()
    counts = [int(text) for text in page.locator(".totals dd").all_inner_texts()]
    named = iter(page.locator("main details").all())
    people = [set(next(named).locator(".people .small").all_text_contents()) if count else set() for count in counts]
    assert [len(group) for group in people] == counts
    return dict(zip(GROUPS, people, strict=True))


def fits(surfer: Surfer) -> bool:
    """Whether the page is no wider than the screen."""
    too_wide: int = surfer.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return too_wide <= 0
