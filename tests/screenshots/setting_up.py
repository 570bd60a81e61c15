"""Choosing a password, and setting up: asked for, of one's own will, by text message, on a new phone."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Authenticator, Person, step_now, totp
from tests.screenshots.studio import LONG_EMAIL, LONG_NAME, House, Studio, new_number, unfold


def setting_up(studio: Studio) -> None:
    house = studio.house("riverside", "Riverside Clinic")
    rita, token = house.invited("Rita Marsh", "receptionist")
    tomas = house.add("Tomás Ferreira", email=f"tomas.ferreira@{house.slug}.example", phone=new_number())
    long = house.add(LONG_NAME, email=f"{LONG_EMAIL}.{house.slug}.example", phone=new_number())
    _of_ones_own_will(studio, tomas)
    house.require(require_two_factor=True)
    surfer = studio.surfer()
    _activation(studio, surfer, rita, token)
    page = surfer.sign_in(rita)
    studio.shoot(page, "set-up-number")
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/set-up/phone"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "set-up-number-wrong", dark=False)
    surfer.fill("#phone", new_number())
    surfer.press('form[action$="/set-up/phone"] button')
    expect(page.locator('form[action$="/set-up/totp"]')).to_be_visible()
    studio.shoot(page, "set-up")
    unfold(page)
    studio.shoot(page, "set-up-unfolded")
    _with_an_app(studio, surfer, rita)
    _on_a_new_phone(studio, surfer, rita)
    _somebody_with_a_long_name(studio, long)
    _by_text_message(studio, house)


def _activation(studio: Studio, surfer: Surfer, person: Person, token: str) -> None:
    page = studio.visit(surfer, f"/activate/{token}", "activate")
    for password, name in (("harbourclinic", "activate-wrong"), (person.password, "activate-done")):
        surfer.fill("#password", password)
        surfer.press("main form button")
        expect(page.locator("#wrong" if name == "activate-wrong" else "#email")).to_be_visible()
        studio.shoot(page, name, dark=False)
    studio.visit(surfer, f"/activate/{token}", "activate-used", dark=False)


def _with_an_app(studio: Studio, surfer: Surfer, person: Person) -> None:
    page = surfer.page
    surfer.press('form[action$="/set-up/totp"] button')
    expect(page.locator(".qr svg").first).to_be_visible()
    studio.shoot(page, "set-up-scan")
    person.authenticator = app = Authenticator(page.locator("#key").inner_text().replace(" ", "").replace("\n", ""))
    surfer.give(app.wrong_code())
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "set-up-scan-wrong")
    _with_a_slow_clock(surfer, app)
    studio.shoot(page, "set-up-scan-clock", dark=False)
    surfer.give(app.code())
    expect(page.locator(".codes li")).to_have_count(10)
    studio.shoot(page, "backup-codes")
    studio.album.print(page, "backup-codes-printed")
    surfer.tick("#safe")
    surfer.press("form:has(#safe) button")
    expect(page.locator("#two-factor .badge.on").first).to_be_visible()
    studio.shoot(page, "set-up-done")


def _with_a_slow_clock(surfer: Surfer, app: Authenticator) -> None:
    """Two codes of a phone that is two hours behind: of one the page cannot tell."""
    for step in range(2):
        surfer.page.goto(surfer.page.url)
        surfer.give(totp(app.secret, step_now() - 2 * 120 + step))
        expect(surfer.page.get_by_role("alert")).to_be_visible()


def _on_a_new_phone(studio: Studio, surfer: Surfer, person: Person) -> None:
    page = studio.visit(surfer, "/set-up", "set-up-new-phone")
    surfer.press('form[action$="/set-up/totp"] button')
    expect(page.locator(".qr svg").first).to_be_visible()
    studio.shoot(page, "set-up-new-phone-scan", dark=False)


def _of_ones_own_will(studio: Studio, person: Person) -> None:
    surfer = studio.surfer()
    surfer.sign_in(person)
    studio.visit(surfer, "/me", "me-off")
    studio.visit(surfer, "/set-up", "set-up-free", dark=False)


def _somebody_with_a_long_name(studio: Studio, person: Person) -> None:
    surfer = studio.surfer()
    page = surfer.sign_in(person)
    studio.shoot(page, "set-up-long")
    surfer.press('form[action$="/set-up/totp"] button')
    expect(page.locator(".qr svg").first).to_be_visible()
    studio.shoot(page, "set-up-scan-long", dark=False)
    uri = page.locator(".on-phone a").get_attribute("href") or ""
    person.authenticator = Authenticator(parse_qs(urlsplit(uri).query)["secret"][0])
    surfer.give(person.app.code())
    expect(page.locator(".codes li")).to_have_count(10)
    studio.album.print(page, "backup-codes-printed-long")
    surfer.tick("#safe")
    surfer.press("form:has(#safe) button")
    expect(page.locator("#two-factor .badge.on").first).to_be_visible()
    studio.shoot(page, "me-long")


def _by_text_message(studio: Studio, house: House) -> None:
    person = house.add("Zoë Lindgren", email=f"zoe.lindgren@{house.slug}.example", phone=new_number())
    surfer = studio.surfer()
    page = surfer.sign_in(person)
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/set-up/sms"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "set-up-text-number-wrong", dark=False)
    surfer.go("/set-up")
    surfer.press('form[action$="/set-up/sms"] button')
    expect(page.locator("#code")).to_be_visible()
    expect(page.locator("[data-over]")).to_be_attached(timeout=15_000)
    studio.shoot(page, "set-up-text")
    code = house.texted(person.phone)
    surfer.give(f"{(int(code) + 1) % 1_000_000:06}")
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "set-up-text-wrong", dark=False)
