"""The pages under the Tab key: everything that can be used is reached in the order of the document, with the focus to
be seen, and a page that refuses something puts the focus where it is mended (WCAG 2.1.1, 2.4.1,
2.4.3, 2.4.7, 2.4.11)."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.flows import MY_INFO, SET_UP, arrive, give_backup_code, is_refused, scan
from tests.end_to_end.manners import Manner

pytestmark = [
    pytest.mark.parametrize("manner", [Manner("keyboard", {"has_mouse": False})], ids=["keyboard"]),
    pytest.mark.local_only("what the Tab key reaches is the same pages on either stack"),
]

_NUMBER = """() => {
  const usable = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    each => each.type !== "hidden" && !each.disabled && !each.readOnly && each.checkVisibility()
      && (each.tabIndex >= 0 || each.matches("a, button, input, select, textarea, summary")));
  usable.forEach((each, place) => { each.dataset.place = place; });
  return usable.map(each => each.outerHTML.slice(0, 120));
}"""
_FOCUS = """() => {
  const here = document.activeElement, box = here.getClientRects()[0] ?? new DOMRect(), style = getComputedStyle(here);
  const middle = (from, to, most) => (Math.max(from, 0) + Math.min(to, most)) / 2;  // of what the screen shows of it
  const [x, y] = [middle(box.left, box.right, innerWidth), middle(box.top, box.bottom, innerHeight)];
  const top = document.elementFromPoint(x, y);
  const isOutlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return {
    place: Number(here.dataset.place ?? -1),
    shows: here.matches(":focus-visible") && isOutlined && top !== null && here.contains(top),
  };
}"""


def walk(surfer: Surfer) -> None:
    """Once through the page, from its beginning to its end."""
    page = surfer.page
    usable = page.evaluate(_NUMBER)
    assert 'class="skip"' in usable[0]
    most = 10 + 8 * len(usable)  # a field for a date takes several presses
    for _ in range(most):
        place = page.evaluate(_FOCUS)["place"]
        if place == 0:
            break
        page.keyboard.press("Tab" if place < 0 else "Shift+Tab")
    reached: list[int] = []
    for _ in range(most):
        focus = page.evaluate(_FOCUS)
        if focus["place"] in (-1, 0) and reached:
            break
        if focus["place"] not in reached[-1:]:  # the parts of a date show it themselves
            assert focus["shows"], f"{page.url}: nothing shows the focus on {usable[focus['place']]}"
            reached.append(focus["place"])
        page.keyboard.press("Tab")
    missed = [usable[place] for place in range(len(usable)) if place not in reached]
    assert not missed, f"{page.url}: not reached: {missed}"
    assert reached == list(range(len(usable))), f"{page.url}: in the order {[usable[place] for place in reached]}"


def is_at(surfer: Surfer, field: str) -> None:
    """The focus is on this field, which is said to be wrong, and what is wrong with it is read out with it."""
    is_refused(surfer)
    box = surfer.page.locator(f"#{field}")
    expect(box).to_be_focused()
    described = (box.get_attribute("aria-describedby") or "").split()
    wrong = [name for name in described if name in ("wrong", f"{field}-wrong")]
    assert wrong, f"nothing describes what is wrong with {field}"
    expect(surfer.page.locator(f"#{wrong[0]}")).not_to_be_empty()


def test_the_tab_key_leads_through_the_pages_of_staff_in_their_order(
    surfer: Surfer, clinic: Clinic, tmp_path: Path
) -> None:
    clinic.require(remember_device_days=7)
    person, _client = clinic.enrolled()
    page = surfer.go(f"/c/{clinic.slug}")
    walk(surfer)
    surfer.sign_in(person)
    expect(page.locator("#code")).to_be_visible()
    walk(surfer)
    surfer.press(".skip")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null"), "the skip link leads past the head"
    surfer.go("/code/lost")
    walk(surfer)
    surfer.go("/code")
    surfer.give(person.app.code())
    expect(page).to_have_url(MY_INFO)
    walk(surfer)
    for path in ("/set-up", "/me/details", "/me/phone", "/me/password", "/help/lost-phone"):
        surfer.go(path)
        walk(surfer)
    surfer.go("/set-up")
    scan(surfer, tmp_path)
    walk(surfer)


def test_the_tab_key_leads_through_the_pages_of_an_administrator_in_their_order(surfer: Surfer, clinic: Clinic) -> None:
    clinic.desk.enrol_totp(clinic.admin)
    person, _client = clinic.enrolled()
    page = arrive(surfer, clinic.admin, clinic.admin.app.code())
    for path in ("/clinic/security", "/users", f"/users/{person.id}", "/users/new", "/audit"):
        surfer.go(path)
        folds = page.locator("main summary").count()
        walk(surfer)
        for place in range(folds):
            page.locator("main summary").nth(place).focus()
            page.keyboard.press("Enter")
        if folds:
            walk(surfer)


def test_a_refusal_puts_the_focus_where_it_is_mended(surfer: Surfer, clinic: Clinic) -> None:
    clinic.require(require_two_factor=True)
    surfer.sign_in(Person(clinic.slug, clinic.admin.email))
    is_at(surfer, "password")
    expect(surfer.page.locator("#email")).to_have_value(clinic.admin.email)
    expect(surfer.page.locator("#password")).to_have_value("")
    surfer.sign_in(clinic.admin)
    surfer.give(clinic.admin.app.wrong_code())
    is_at(surfer, "code")
    give_backup_code(surfer, clinic.admin.backup_codes.pop())
    page = surfer.page
    expect(page).to_have_url(MY_INFO)
    surfer.go("/users/new")
    surfer.fill("#name", "Nia Newcomer")
    surfer.fill("#email", f"nia@{clinic.slug}.example")
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/users/new"] button')
    is_at(surfer, "phone")
    expect(page.locator("#name")).to_have_value("Nia Newcomer")
    surfer.go("/clinic/security")
    surfer.fill("#idle_minutes", "900")
    surfer.press('form[action$="/preview"] button')
    is_at(surfer, "idle_minutes")
    surfer.go("/clinic/security")
    for method in ("#method_totp", "#method_sms"):
        surfer.tick(method, on=False)
    surfer.press('form[action$="/preview"] button')
    is_refused(surfer)
    expect(page.locator("#method_totp")).to_be_focused()
    expect(page.get_by_role("group").filter(has=page.locator("#method_totp"))).to_have_accessible_description(
        page.locator("#methods-wrong").inner_text()
    )
    surfer.go("/users")
    surfer.press(f'main a[href$="/users/{clinic.admin.id}"]')
    surfer.fill("#details-card #phone", "12")
    surfer.press('form[action$="/details"] button')
    expect(page.locator("#wrong-details, #phone").locator("visible=true").first).to_be_visible()
    assert page.evaluate("['wrong-details', 'phone'].includes(document.activeElement.id)")


def test_a_refused_set_up_puts_the_focus_where_it_is_mended(surfer: Surfer, clinic: Clinic, tmp_path: Path) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True)
    surfer.sign_in(person)
    expect(surfer.page).to_have_url(SET_UP)
    walk(surfer)
    surfer.fill("#phone", "12")
    surfer.press('form[action$="/set-up/phone"] button')
    is_at(surfer, "phone")
    surfer.fill("#phone", "+447700900123")
    surfer.press('form[action$="/set-up/phone"] button')
    app = scan(surfer, tmp_path)
    surfer.give(app.wrong_code())
    is_at(surfer, "code")
