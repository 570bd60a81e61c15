"""People as their administrators see them: the list, somebody new, and one person in each state."""

from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person, ok
from tests.screenshots.studio import LONG_NAME, House, Studio, new_number, unfold

_STATES = {
    "Nadia Petrova": "required",
    "Oliver Bennett": "exempt",
    "Grace Adeyemi": "let-in",
    "Hiro Tanaka": "let-in-stolen",
    "Leila Farouk": "let-in-used",
    "Piotr Nowak": "no-more-tries",
    "Sofia Rossi": "disabled",
    "Erik Dahl": "invited",
}


def people_in_each_state(house: House) -> None:
    """Made before the administrator has a factor, so that no fresh code is needed meanwhile."""
    for name, state in _STATES.items():
        if state == "invited":
            house.invited(name, "receptionist")
            continue
        person = house.add(name, phone=new_number() if state != "exempt" else "")
        if state not in ("required", "exempt"):
            house.with_app(person)
        house.made[name] = person


def users(studio: Studio, surfer: Surfer, house: House) -> None:
    _put(house)
    page = studio.visit(surfer, "/users", "users")
    studio.visit(surfer, "/users?show=missing", "users-missing", dark=False)
    studio.visit(surfer, "/users?q=Zacharias", "users-nobody", dark=False)
    wanted = dict(_STATES)
    wanted |= {"Mina Okafor": "on", "Rita Marsh": "nothing", LONG_NAME: "long", "Samir Haddad": "oneself"}
    addresses = {}
    for name in wanted:
        surfer.go(f"/users?q={name.split()[-1]}")
        addresses[name] = (page.locator("a.name").first.get_attribute("href") or "").rpartition("/")[2]
    for name, state in wanted.items():
        studio.visit(surfer, f"/users/{addresses[name]}", f"user-{state}", dark=state in ("on", "let-in"))
        if state == "nothing":
            unfold(page)
            studio.shoot(page, "user-nothing-unfolded", dark=False)
    surfer.go(f"/users/{addresses['Rita Marsh']}")
    surfer.choose("#requirement", "exempt")
    surfer.press('form[action$="/requirement"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "user-requirement-wrong", dark=False)
    surfer.go(f"/users/{addresses['Rita Marsh']}")
    page.evaluate("for (const form of document.forms) form.noValidate = true")
    surfer.fill("#minutes", "9000")
    surfer.fill("#bypass_reason", "Lost her phone on the bus")
    surfer.press('form[action$="/bypass"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "user-bypass-wrong", dark=False)
    _new(studio, surfer, house)


def _put(house: House) -> None:
    """What is said of each, by the administrator who has just given a code."""
    person: dict[str, Person] = house.made
    house.refresh()
    house.set_for(person["Nadia Petrova"], requirement="required", reason="Has access to billing")
    until = "2027-01-31T18:00:00Z"
    house.set_for(person["Oliver Bennett"], requirement="exempt", reason="On leave; no phone at work", expires_at=until)
    for name, reason, stolen in (
        ("Grace Adeyemi", "Left her phone at home; known by voice", False),
        ("Hiro Tanaka", "Phone stolen on the train", True),
        ("Leila Farouk", "Broke her phone; was here in person", False),
    ):
        wanted = {"reason": reason, "expires_in_minutes": 60, "suspend_factors": stolen}
        ok(house.desk.post(f"/v1/users/{person[name].id}/two-factor/bypass", wanted), 201)
    used = house.client()
    used.sign_in(person["Leila Farouk"])
    guessing = house.client()
    guessing.sign_in(person["Piotr Nowak"])
    for _ in range(5):
        guessing.factor("totp", person["Piotr Nowak"].app.wrong_code())
    ok(house.desk.patch(f"/v1/users/{person['Sofia Rossi'].id}", {"disabled": True}))


def _new(studio: Studio, surfer: Surfer, house: House) -> None:
    page = studio.visit(surfer, "/users/new", "users-new", dark=False)
    surfer.fill("#name", "Nia Newcomer")
    surfer.fill("#email", f"mina.okafor@{house.slug}.example")
    surfer.press('form[action$="/users/new"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    studio.shoot(page, "users-new-wrong", dark=False)
    surfer.fill("#email", f"nia.newcomer@{house.slug}.example")
    surfer.press('form[action$="/users/new"] button')
    expect(page.locator(".qr svg")).to_be_visible()
    studio.shoot(page, "users-link")
