"""Signing in, as it goes well and as it does not."""

from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person, step_now, totp
from tests.screenshots.studio import LONG_NAME, House, Studio, new_number


def signing_in(studio: Studio) -> None:
    house = studio.house("harbour", "Harbour Clinic")
    mina = house.add("Mina Okafor", phone=new_number())
    house.with_texts(mina, house.with_app(mina))
    tomas = house.add("Tomás Ferreira", "receptionist", email=f"tomas.ferreira@{house.slug}.example")
    house.with_texts(tomas)
    house.add(LONG_NAME, "admin", email=f"wilhelmina.featherstonehaugh@{house.slug}.example")
    house.require(require_two_factor=True, remember_device_days=30)
    surfer = studio.surfer()
    _before_the_password(studio, surfer, house)
    page = surfer.sign_in(mina)
    studio.shoot(page, "code-app")
    surfer.give(mina.app.wrong_code())
    _is_refused(surfer)
    studio.shoot(page, "code-app-wrong")
    for step in (14, 15):  # of one code of a phone that is seven minutes ahead the page cannot tell
        surfer.go("/code")
        surfer.give(totp(mina.app.secret, step_now() + step))
        _is_refused(surfer)
    studio.shoot(page, "code-app-clock")
    studio.visit(surfer, "/code?method=sms", "code-text-order")
    # What the page asks by itself gets no answer while the first picture is taken.
    page.route("**/code/text", lambda route: route.abort() if route.request.method == "GET" else route.continue_())
    surfer.press('form[action$="/code/text"] button')
    expect(page.locator("#code")).to_be_visible()
    studio.shoot(page, "code-text-sent")
    page.unroute("**/code/text")
    house.texted(mina.phone, seen=1)
    expect(page.locator("[data-over]")).to_be_attached(timeout=15_000)
    studio.shoot(page, "code-text-delivered", dark=False)
    studio.visit(surfer, "/code?method=backup_code", "code-backup")
    surfer.give("not one of them")
    surfer.press("form:has(#code) button")
    _is_refused(surfer)
    studio.shoot(page, "code-backup-wrong", dark=False)
    studio.visit(surfer, "/code/lost", "lost-phone")
    studio.visit(surfer, "/code/forgotten", "forgotten-named", dark=False)
    surfer.go("/code")
    surfer.give(mina.app.wrong_code())
    _is_refused(surfer)
    surfer.go("/code")
    surfer.give(mina.app.wrong_code())
    _is_refused(surfer)
    studio.shoot(page, "code-no-more-tries", dark=False)
    _a_text_that_fails(studio, tomas)
    _announced(studio)


def _before_the_password(studio: Studio, surfer: Surfer, house: House) -> None:
    studio.visit(surfer, "/?again", "clinic")
    studio.visit(surfer, "/?clinic=Harbour+Clinic!", "clinic-wrong", dark=False)
    page = studio.visit(surfer, f"/c/{house.slug}", "sign-in")
    studio.visit(surfer, f"/c/{house.slug}?done=idle", "sign-in-after-a-while", dark=False)
    surfer.fill("#email", f"mina.okafor@{house.slug}.example")
    surfer.fill("#password", "not the right one")
    surfer.press("main form button")
    _is_refused(surfer)
    studio.shoot(page, "sign-in-wrong")
    studio.visit(surfer, f"/c/{house.slug}/forgotten", "forgotten", dark=False)


def _a_text_that_fails(studio: Studio, person: Person) -> None:
    studio.fault("undelivered", person.phone)
    surfer = studio.surfer()
    page = surfer.sign_in(person)
    surfer.press('form[action$="/code/text"] button')
    expect(page.locator(".note.wrong")).to_be_visible(timeout=15_000)
    studio.shoot(page, "code-text-failed")


def _announced(studio: Studio) -> None:
    """A rule that is to come."""
    house = studio.house("quayside", "Quayside Physiotherapy and Sports Rehabilitation")
    rita = house.add("Rita Marsh", "receptionist")
    house.require(require_two_factor=True, enforce_from="2027-03-01T18:00:00Z")
    surfer = studio.surfer()
    surfer.go(f"/c/{rita.clinic}?return_to=/help")
    surfer.fill("#email", rita.email)
    surfer.fill("#password", rita.password)
    surfer.press("main form button")
    expect(surfer.page.locator("h1")).to_be_visible()
    studio.shoot(surfer.page, "announced")
    studio.visit(surfer, "/me", "me-announced", dark=False)


def _is_refused(surfer: Surfer) -> None:
    expect(surfer.page.get_by_role("alert")).to_be_visible()
