"""Administrators: the rule in each state, what it would do, what integrations demand, and the audit trail."""

import re

from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person, ok
from tests.screenshots.studio import LONG_EMAIL, LONG_NAME, House, Studio, new_number
from tests.screenshots.users import people_in_each_state, users

_TICK = "#require_two_factor"
_SAVE = 'form[action$="/clinic/security/preview"] button'


def administering(studio: Studio) -> None:
    house = studio.house("hillside", "Hillside Clinic")
    samir, _people = _made(house)
    surfer = studio.surfer()
    page = surfer.sign_in(samir)
    studio.visit(surfer, "/clinic/security", "security-off-own-missing", dark=False)
    house.with_app(samir)
    surfer.sign_in(samir)
    surfer.give(samir.app.code())
    expect(page).to_have_url(re.compile(r"/me(\?|$)"))
    studio.visit(surfer, "/clinic/security", "security-off")
    _wrong(studio, surfer)
    _on(studio, surfer, house)
    _integrations(studio, surfer, house)
    users(studio, surfer, house)
    _audit(studio, surfer)
    _shared(studio, surfer, samir)
    _alone(studio)


def _made(house: House) -> tuple[Person, list[Person]]:
    """A second administrator, and a team of whom some have set it up."""
    samir = house.add("Samir Haddad", "admin", phone=new_number())
    team = [
        house.add("Mina Okafor", phone=new_number()),
        house.add("Tomás Ferreira", "receptionist", email=f"tomas.ferreira@{house.slug}.example", phone=new_number()),
        house.add("Rita Marsh", "receptionist"),
        house.add("Ingrid Solheim", phone=new_number()),
        house.add(LONG_NAME, email=f"{LONG_EMAIL}.{house.slug}.example", phone=new_number()),
        house.add("Jonas Albrecht", "receptionist", phone=new_number()),
    ]
    house.with_app(team[0])
    house.with_texts(team[1])
    for person in team[2:4]:
        house.client().sign_in(person)
    people_in_each_state(house)
    house.refresh()
    return samir, team


def _wrong(studio: Studio, surfer: Surfer) -> None:
    page = surfer.page
    surfer.tick("#method_totp", on=False)
    surfer.tick("#method_sms", on=False)
    surfer.fill("#idle_minutes", "500")
    surfer.fill("#sms_countries", "United Kingdom, Atlantis")
    surfer.fill("#enforce_from", "2020-03-01T06:00")
    surfer.tick(_TICK)
    surfer.press(_SAVE)
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "security-wrong", dark=False)


def _on(studio: Studio, surfer: Surfer, house: House) -> None:
    """First for a night to come, then at once; then a change that another administrator was quicker with."""
    page = surfer.page
    surfer.go("/clinic/security")
    surfer.tick(_TICK)
    surfer.fill("#enforce_from", "2027-03-01T20:00")
    surfer.press(_SAVE)
    expect(page.locator(".totals")).to_be_visible()
    studio.shoot(page, "preview-planned", dark=False)
    surfer.press('form[action$="/clinic/security"] button')
    expect(page.get_by_role("status")).to_be_visible()
    studio.shoot(page, "security-planned", dark=False)
    surfer.fill("#enforce_from", "")
    surfer.press(_SAVE)
    expect(page.locator(".totals")).to_be_visible()
    studio.shoot(page, "preview")
    surfer.press('form[action$="/clinic/security"] button')
    expect(page.get_by_role("status")).to_be_visible()
    studio.shoot(page, "security-on")
    surfer.go("/clinic/security")
    house.require(idle_minutes=25, remember_device_days=14)
    surfer.fill("#idle_minutes", "45")
    surfer.press(_SAVE)
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "security-changed-meanwhile", dark=False)


def _integrations(studio: Studio, surfer: Surfer, house: House) -> None:
    page = studio.visit(surfer, "/clinic/security/holds", "hold", dark=False)
    surfer.fill("#name", "My Ledger!")
    surfer.fill("#max_device_trust_hours", "99999")
    surfer.press('form[action$="/holds/preview"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "hold-wrong", dark=False)
    surfer.fill("#name", "ledger")
    surfer.fill("#max_device_trust_hours", "72")
    surfer.press('form[action$="/holds/preview"] button')
    expect(page.locator(".totals")).to_be_visible()
    studio.shoot(page, "hold-preview", dark=False)
    surfer.press('form[action$="/clinic/security/holds"] button')
    expect(page.get_by_role("status")).to_be_visible()
    house.refresh()
    long = "national-association-of-physiotherapists.payroll-and-accounting"
    ok(house.desk.put(f"/v1/clinic/integrations/{long}", {"requires_two_factor": True, "max_device_trust_hours": 0}))
    studio.visit(surfer, "/clinic/security", "security-held")


def _audit(studio: Studio, surfer: Surfer) -> None:
    page = studio.visit(surfer, "/audit", "audit")
    for fold in page.locator("main details > summary").all()[:4]:
        fold.click()
    studio.shoot(page, "audit-details", dark=False)
    studio.visit(surfer, "/audit?person=Mina", "audit-of-one", dark=False)
    studio.visit(surfer, "/audit?person=a", "audit-whom", dark=False)
    studio.visit(surfer, "/audit?kind=keys.rotated", "audit-nothing", dark=False)


def _shared(studio: Studio, surfer: Surfer, person: Person) -> None:
    page = surfer.page
    surfer.go("/clinic/security")
    surfer.press('form[action$="/shared-computer"] button')
    expect(page.get_by_role("status")).to_be_visible()
    studio.shoot(page, "security-shared", dark=False)
    studio.visit(surfer, "/me", "me-shared", dark=False)
    surfer.press("form.sign-out button")
    expect(page.locator("#email")).to_be_visible()
    studio.shoot(page, "sign-in-shared", dark=False)


def _alone(studio: Studio) -> None:
    """A clinic that has nobody but its administrator yet."""
    house = studio.house("lighthouse", "Lighthouse Clinic")
    surfer = studio.surfer()
    surfer.sign_in(house.admin)
    for path, name in (
        ("/users", "users-alone"),
        ("/clinic/security", "security-alone"),
        ("/audit", "audit-alone"),
        ("/me", "me-alone"),
    ):
        studio.visit(surfer, path, name, dark=False)
