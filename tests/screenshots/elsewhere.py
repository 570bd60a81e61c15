"""The help, what is said where something is not as it should be, and the sample clinic app."""

from playwright.sync_api import Page, expect

from tests.end_to_end.browsing import DESK
from tests.screenshots.studio import House, Studio

_TOPICS = ("set-up", "require", "questions", "lost-phone", "administrators")
_NOTE = "Left knee, 20 minutes.\nSwelling down since Monday; walks without the stick.\nNext time: stairs."


def elsewhere(studio: Studio) -> None:
    house = studio.house("bridge", "Bridge Street Clinic")
    rita = house.add("Rita Marsh", "receptionist")
    surfer = studio.surfer()
    studio.visit(surfer, "/help", "help")
    for topic in _TOPICS:
        studio.visit(surfer, f"/help/{topic}", f"help-{topic}", dark=False)
    page = studio.visit(surfer, "/nowhere", "not-here")
    studio.visit(surfer, "/activate/no-such-link", "activate-unknown", dark=False)
    surfer.sign_in(rita)
    studio.visit(surfer, "/users", "not-allowed", dark=False)
    surfer.go("/me/details")
    page.locator("main input[name=csrf]").evaluate("field => field.value = 'of another page'")
    surfer.press("main form button")
    expect(page.locator("footer code")).to_be_visible()
    studio.shoot(page, "form-out-of-date", dark=False)
    if studio.language == "en-GB":
        _note(studio, house)


def _note(studio: Studio, house: House) -> None:
    """A note that is being written while the rule is turned on."""
    author = house.add("Mina Okafor")
    app = str(studio.stack.told["sample_app"])
    context = studio.browser.new_context(viewport=DESK, locale=studio.language, device_scale_factor=2)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{app}/")
    page.locator("#clinic").fill(author.clinic)
    page.locator("main form button").click()
    page.locator("#email").fill(author.email)
    page.locator("#password").fill(author.password)
    page.locator("main form button").first.click()
    page.locator("#text").fill(_NOTE)
    studio.shoot(page, "note")
    house.require(require_two_factor=True, phone_required=False)
    page.locator("button").click()
    expect(page.locator("#way a").first).to_be_visible()
    studio.shoot(page, "note-waiting")
    tab: Page = context.new_page()
    tab.goto(f"{app}/back")
    studio.shoot(tab, "note-back", dark=False)
    context.close()


def not_now(studio: Studio) -> None:
    """A part of the stack is down; the last picture that can be taken."""
    house = studio.house("tower", "Tower Clinic")
    rita = house.add("Rita Marsh", "receptionist")
    surfer = studio.surfer()
    page = surfer.sign_in(rita)
    expect(page.locator("h1")).to_be_visible()
    studio.stack.kill("otp")
    studio.visit(surfer, "/me", "not-now", dark=False)
    studio.visit(surfer, "/clinic/security", "not-now-elsewhere", dark=False)
