"""My info of somebody who has been here for a while, and the pages that lead from it."""

import re

from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person, ok
from tests.screenshots.studio import House, Studio, new_number

_PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile/15E148"
_PHONE += " Safari/604.1"


def my_info(studio: Studio) -> None:
    house = studio.house("meadow", "Meadow Lane Clinic")
    ingrid = house.add("Ingrid Solheim", phone=new_number())
    house.with_texts(ingrid, house.with_app(ingrid))
    house.require(remember_device_days=30)
    surfer = studio.surfer()
    page = surfer.sign_in(ingrid)
    surfer.tick("#remember")
    surfer.give(ingrid.app.code())
    expect(page).to_have_url(re.compile(r"/me(\?|$)"))
    _backup_codes_are_spent(house, ingrid)
    studio.visit(surfer, "/me", "me")
    for path, name in (
        ("/me/details", "me-details"),
        ("/me/phone", "me-phone"),
        ("/me/password", "me-password"),
        ("/me/two-factor/totp/remove", "me-turn-off-app"),
        ("/me/two-factor/sms/remove", "me-turn-off-texts"),
    ):
        studio.visit(surfer, path, name, dark=False)
    _wrong(studio, surfer)
    surfer.go("/me")
    surfer.press('form[action$="/me/backup-codes"] button')
    expect(page.locator(".codes li")).to_have_count(10)
    studio.shoot(page, "backup-codes-new", dark=False)
    _required(studio, house)


def _backup_codes_are_spent(house: House, person: Person) -> None:
    """In sign-ins on a phone, three of which are still open; one is on its way."""
    for number in range(8):
        client = house.client()
        client.http.headers["User-Agent"] = _PHONE
        client.sign_in(person)
        client.prove(person, "backup_code")
        if number > 2:
            ok(client.delete("/v1/session"), 204)
    house.client().sign_in(person)


def _wrong(studio: Studio, surfer: Surfer) -> None:
    page = surfer.page
    surfer.go("/me/phone")
    surfer.fill("#phone", "12 34")
    surfer.press('form[action$="/me/phone"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "me-phone-wrong", dark=False)
    surfer.fill("#phone", new_number())
    surfer.press('form[action$="/me/phone"] button')
    expect(page.locator("#code")).to_be_visible()
    studio.shoot(page, "me-phone-code", dark=False)
    surfer.go("/me/password")
    surfer.fill("#current_password", "not the one I have")
    surfer.fill("#new_password", "some unrelated words in a row")
    surfer.press("main form button")
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "me-password-wrong", dark=False)


def _required(studio: Studio, house: House) -> None:
    """What cannot be turned off, and a browser that has to give a code first."""
    house.require(require_two_factor=True)
    jonas = house.add("Jonas Albrecht", "receptionist", phone=new_number())
    house.with_app(jonas)
    surfer = studio.surfer()
    page = surfer.sign_in(jonas)
    surfer.tick("#remember")
    surfer.give(jonas.app.code())
    expect(page).to_have_url(re.compile(r"/me(\?|$)"))
    studio.visit(surfer, "/me/two-factor/totp/remove", "me-turn-off-refused", dark=False)
    surfer.press("form.sign-out button")
    expect(page.locator("#email")).to_be_visible()
    studio.shoot(page, "signed-out", dark=False)
    surfer.sign_in(jonas)
    studio.visit(surfer, "/set-up", "code-before-a-change")
