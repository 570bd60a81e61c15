"""The clinic's people, as administrators handle them in a browser: found, added, exempted, let in once, disabled; with
what each of it is to the person, who sits at a browser of their own."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.end_to_end.administering import at_desk, done, fits, set_up
from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Person, new_number, ok, problem
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.flows import MY_INFO, SET_UP, arrive, sign_out
from tests.end_to_end.manners import in_every_manner

pytestmark = [in_every_manner, pytest.mark.timeout(120)]
SHOW = 'form[role="search"] button'
NEXT_CLICK = '#details a[href$="/me/password"]'
SIGN_IN = re.compile(r"/c/[a-z0-9-]+\?done=over$")


def part(name: str) -> str:
    """The button of one form on a person's page."""
    return f'main form[action$="/{name}"] button'


def listed(page: Page) -> set[str]:
    page.wait_for_load_state()
    return set(page.locator("tbody .long").all_inner_texts())


def chosen_anew(surfer: Surfer, link: str, person: Person, password: str) -> None:
    """The link taken up in somebody's own browser."""
    surfer.page.goto(link)
    surfer.fill("#password", password)
    surfer.press('form[action*="/activate/"] button')
    expect(surfer.page).to_have_url(done("password-saved"))
    person.password = password


def refused_sign_in(surfer: Surfer, person: Person) -> None:
    surfer.sign_in(person)
    expect(surfer.page.get_by_role("alert")).to_be_visible()
    expect(surfer.page.locator("#email")).to_have_value(person.email)


def test_somebody_is_added_and_chooses_a_password_with_the_link_in_the_picture(
    surfers: OpenBrowser, clinic: Clinic, tmp_path: Path
) -> None:
    name = "Wilhelmina Featherstonehaugh-Cholmondeley-Marjoribanks of Llanfairpwllgwyngyllgogerychwyrndrobwll"
    email = f"wilhelmina.featherstonehaugh-cholmondeley-marjoribanks@{clinic.slug}.a-very-long-name-of-a-clinic.example"
    person = Person(clinic.slug, email, name, "receptionist")
    surfer = surfers()
    page = arrive(surfer, clinic.admin)
    surfer.press('nav a[href$="/users"]')
    surfer.press('main a[href$="/users/new"]')
    surfer.fill("#name", name)
    surfer.fill("#email", clinic.admin.email)
    surfer.choose("#role", "receptionist")
    surfer.press('form[action$="/users/new"] button')
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#name")).to_have_value(name)
    expect(page.locator("#role")).to_have_value("receptionist")
    surfer.fill("#email", email)
    surfer.press('form[action$="/users/new"] button')
    expect(page.locator(".qr svg")).to_be_visible()
    link = surfer.scanned(tmp_path)
    assert "".join(page.locator("#address").inner_text().split()) == link
    assert fits(surfer)

    newcomer = surfers()
    chosen_anew(newcomer, link, person, person.password)
    arrive(newcomer, person)
    assert fits(newcomer)
    newcomer.page.goto(link)
    expect(newcomer.page.locator("h1")).to_be_visible()
    expect(newcomer.page.locator("#password")).to_have_count(0)

    surfer.go("/users")
    assert fits(surfer)
    surfer.press(f'tr:has-text("{email}") a')
    expect(page.locator("#email")).to_have_value(email)
    expect(page.locator("h1")).to_contain_text(name)
    assert fits(surfer)


def test_people_are_found_by_name_by_address_and_by_what_they_lack(surfer: Surfer, clinic: Clinic) -> None:
    enrolled, _ = clinic.enrolled()
    missing, exempt, disabled = clinic.person("receptionist"), clinic.person(), clinic.person()
    page = at_desk(surfer, clinic, "/users")
    terms = f"/v1/users/{exempt.id}/two-factor/requirement"
    ok(clinic.desk.put(terms, {"requirement": "exempt", "reason": "Works from paper."}))
    ok(clinic.desk.patch(f"/v1/users/{disabled.id}", {"disabled": True}))
    for show, people in (
        ("missing", {missing.email, exempt.email}),
        ("enrolled", {clinic.admin.email, enrolled.email}),
        ("exempt", {exempt.email}),
    ):
        surfer.choose("#show", show)
        surfer.press(SHOW)
        expect(page).to_have_url(re.compile(rf"show={show}"))
        expect(page.locator("#show")).to_have_value(show)
        assert listed(page) == people
    with page.expect_download() as saved:
        surfer.press('a[href*="/users/export"]')
    table = saved.value.path().read_text()
    assert exempt.email in table
    assert missing.email not in table
    surfer.choose("#show", "")
    for text in (missing.name.lower(), missing.email[:18]):
        surfer.fill("#q", text)
        surfer.press(SHOW)
        expect(page.locator("#q")).to_have_value(text)
        expect(page.locator("tbody tr")).to_have_count(1)
        assert listed(page) == {missing.email}
    surfer.fill("#q", "nobody-of-this-name")
    surfer.press(SHOW)
    expect(page.locator("tbody tr")).to_have_count(0)
    surfer.press('main p a[href$="/users"]')
    expect(page.locator("tbody tr")).to_have_count(5)


def test_r14_one_person_is_exempt_until_a_date_while_the_others_are_asked(surfers: OpenBrowser, clinic: Clinic) -> None:
    exempt, other = clinic.person(), clinic.person()
    clinic.require(require_two_factor=True, phone_required=False)
    surfer, worker = surfers(), surfers()
    page = at_desk(surfer, clinic, f"/users/{exempt.id}")
    ends = (datetime.now(ZoneInfo("America/New_York")) + timedelta(days=9)).replace(hour=17, minute=30)
    surfer.choose("#requirement", "exempt")
    surfer.fill("#expires_at", f"{ends:%Y-%m-%dT%H:%M}")
    surfer.press(part("requirement"))
    expect(page.locator("#requirement-card").get_by_role("alert")).to_be_visible()
    expect(page.locator("#reason-wrong")).to_be_visible()
    expect(page.locator("#requirement")).to_have_value("exempt")
    surfer.fill("#reason", "Broken arm; types with one hand.")
    surfer.press(part("requirement"))
    expect(page).to_have_url(done("requirement-saved"))
    expect(page.locator(".card").first).to_contain_text("17:30")
    expect(page.locator("#expires_at")).to_have_value(f"{ends:%Y-%m-%dT%H:%M}")
    expect(page.locator("#requirement-card")).to_contain_text(clinic.admin.name)

    arrive(worker, exempt)
    expect(worker.page.locator("#two-factor > p").first).to_contain_text("17:30")
    sign_out(worker)
    worker.sign_in(other)
    expect(worker.page).to_have_url(SET_UP)
    expect(worker.page.locator(".note")).to_contain_text(clinic.name)
    sign_out(worker)
    arrive(worker, exempt)
    expect(page.locator("blockquote")).to_contain_text(exempt.name)
    expect(page.locator("blockquote")).to_contain_text("17:30")

    surfer.choose("#requirement", "clinic_default")
    surfer.press(part("requirement"))
    expect(page).to_have_url(done("requirement-saved"))
    expect(page.locator("#expires_at")).to_have_value("")
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SET_UP)


def test_r14_it_is_required_of_one_person_alone_who_reads_why(surfers: OpenBrowser, clinic: Clinic) -> None:
    person, other = clinic.person(), clinic.person()
    surfer, worker, colleague = surfers(), surfers(), surfers()
    arrive(worker, person)
    arrive(colleague, other)
    page = at_desk(surfer, clinic, f"/users/{person.id}")
    surfer.choose("#requirement", "required")
    surfer.press(part("requirement"))
    expect(page).to_have_url(done("requirement-saved"))
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SET_UP)
    expect(worker.page.locator("p.note")).to_contain_text(clinic.name)
    expect(page.locator("blockquote")).to_contain_text(clinic.name)
    expect(page.locator("blockquote")).to_contain_text(person.name)
    colleague.press(NEXT_CLICK)
    expect(colleague.page.locator("#current_password")).to_be_visible()


def test_r06_whose_number_is_lifted_goes_on_without_one(surfers: OpenBrowser, clinic: Clinic) -> None:
    person = clinic.person()
    clinic.require(require_two_factor=True)
    surfer, worker = surfers(), surfers()
    worker.sign_in(person)
    expect(worker.page.locator("#phone")).to_be_visible()
    page = at_desk(surfer, clinic, f"/users/{person.id}")
    surfer.tick("#phone_lifted")
    surfer.press(part("phone"))
    expect(page.locator("#phone_reason-wrong")).to_be_visible()
    expect(page.locator("#phone_lifted")).to_be_checked()
    surfer.fill("#phone_reason", "Has no mobile phone.")
    surfer.press(part("phone"))
    expect(page).to_have_url(done("phone-lifted"))
    worker.go("/set-up")
    set_up(worker, person)
    expect(worker.page).to_have_url(MY_INFO)


def test_r16_leave_to_sign_in_once_is_taken_back_used_and_undone(surfers: OpenBrowser, clinic: Clinic) -> None:
    person, _ = clinic.enrolled(phone=new_number())
    surfer, worker = surfers(), surfers()
    page = at_desk(surfer, clinic, f"/users/{person.id}")
    rule = ok(clinic.desk.get("/v1/clinic/security"))
    surfer.press(part("bypass"))
    if surfer.page.locator("#bypass_reason-wrong").count() == 0:  # the browser has held an empty field back itself
        assert surfer.page.evaluate("!document.querySelector('#bypass_reason').checkValidity()")
    surfer.fill("#bypass_reason", "Lost on the ferry; known by voice.")
    surfer.fill("#minutes", "30")
    surfer.press(part("bypass"))
    expect(page).to_have_url(done("let-in"))
    expect(page.locator("#bypass-card .note")).to_contain_text("Lost on the ferry; known by voice.")
    surfer.press(part("take-back"))
    expect(page).to_have_url(done("let-in-taken-back"))
    worker.sign_in(person)
    expect(worker.page.locator("#code")).to_be_visible()

    surfer.fill("#bypass_reason", "Lost on the ferry after all.")
    surfer.press(part("bypass"))
    expect(page).to_have_url(done("let-in"))
    worker.sign_in(person)
    expect(worker.page).to_have_url(SET_UP)
    worker.go("/me")
    expect(worker.page).to_have_url(SET_UP)
    set_up(worker, person)
    expect(worker.page).to_have_url(MY_INFO)
    assert ok(clinic.desk.get("/v1/clinic/security")) == rule

    surfer.go(f"/users/{person.id}")
    expect(page.locator("#bypass-card .note")).to_contain_text(clinic.admin.name)
    surfer.press(part("take-back"))
    expect(page).to_have_url(done("let-in-undone"))
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SIGN_IN)
    refused_sign_in(worker, person)
    surfer.press(part("reset"))
    expect(page.locator("#address")).to_be_visible()
    link = page.locator("#address").inner_text()
    chosen_anew(worker, link, person, person.password + "!")
    arrive(worker, person)
    expect(worker.page.locator("#two-factor .badge.on")).to_have_count(0)


def test_r16_a_stolen_phone_is_stopped_at_once_with_all_that_it_had_open(surfers: OpenBrowser, clinic: Clinic) -> None:
    person, _ = clinic.enrolled(phone=new_number())
    thief = clinic.client()
    surfer, worker = surfers(), surfers()
    page = at_desk(surfer, clinic, f"/users/{person.id}")
    worker.sign_in(person)
    worker.give(person.app.code())
    expect(worker.page).to_have_url(MY_INFO)
    surfer.fill("#bypass_reason", "Stolen from the locker.")
    surfer.tick("#stolen")
    surfer.press(part("bypass"))
    expect(page).to_have_url(done("let-in-stolen"))
    expect(page.locator(".badge.warn").first).to_be_visible()
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SIGN_IN)
    stolen = person.app
    worker.sign_in(person)
    set_up(worker, person)
    expect(worker.page).to_have_url(MY_INFO)
    thief.sign_in(person)
    problem(thief.factor("totp", stolen.code()), 422, "invalid-code")
    surfer.go(f"/users/{person.id}")
    expect(page.locator(".badge.warn")).to_have_count(0)


def test_an_account_is_disabled_enabled_and_given_a_new_password(surfers: OpenBrowser, clinic: Clinic) -> None:
    person = clinic.person()
    surfer, worker = surfers(), surfers()
    arrive(worker, person)
    page = arrive(surfer, clinic.admin)
    surfer.go(f"/users/{person.id}")
    surfer.press(part("disable"))
    expect(page).to_have_url(done("account-disabled"))
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SIGN_IN)
    refused_sign_in(worker, person)
    surfer.press(part("enable"))
    expect(page).to_have_url(done("account-enabled"))
    arrive(worker, person)
    surfer.press(part("reset"))
    expect(page.locator(".qr svg")).to_be_visible()
    link = page.locator("#address").inner_text()
    worker.press(NEXT_CLICK)  # the link alone ends nothing
    expect(worker.page.locator("#current_password")).to_be_visible()
    elsewhere = surfers()
    chosen_anew(elsewhere, link, person, person.password + "!")
    worker.go("/me")
    expect(worker.page).to_have_url(SIGN_IN)
    arrive(elsewhere, person)
    surfer.press(f'main a[href$="/users/{person.id}"]')
    surfer.press(part("sign-out"))
    expect(page).to_have_url(done("signed-out-everywhere"))
    elsewhere.go("/me")
    expect(elsewhere.page).to_have_url(SIGN_IN)


def test_details_are_changed_and_the_last_administrator_stays_one(surfer: Surfer, clinic: Clinic) -> None:
    person = clinic.person()
    page = arrive(surfer, clinic.admin)
    mine = f"/users/{clinic.admin.id}"
    surfer.go(mine)
    assert page.locator('form[action$="/disable"]').count() == 0
    surfer.choose("#role", "practitioner")
    surfer.press(part("details"))
    expect(page.locator("#details-card").get_by_role("alert")).to_be_visible()
    expect(page.locator("#role")).to_have_value("practitioner")
    assert ok(clinic.desk.get(f"/v1{mine}"))["role"] == "admin"

    surfer.go(f"/users/{person.id}")
    number = new_number()
    surfer.fill("#phone", number)
    surfer.choose("#role", "admin")
    surfer.press(part("details"))
    expect(page).to_have_url(done("saved"))
    expect(page.locator("#phone")).to_have_value(number)
    surfer.go(mine)
    surfer.choose("#role", "practitioner")
    surfer.press(part("details"))
    expect(page).to_have_url(re.compile(r"/me\?done=saved$"))
    assert page.locator('nav a[href$="/users"]').count() == 0
