"""Requiring two-factor authentication, as administrators do it in a browser: of everyone, now or from a date, for an
integration; with what it does to those who are at work in browsers of their own."""

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.end_to_end.administering import (
    BACK,
    SAVE,
    SAVE_IT,
    SECURITY,
    at_desk,
    done,
    foreseen,
    set_up,
    signed_in,
)
from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import new_number, ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.conftest import OpenBrowser
from tests.end_to_end.flows import MY_INFO, SET_UP, arrive, sign_out
from tests.end_to_end.manners import in_every_manner

pytestmark = [in_every_manner, pytest.mark.timeout(120)]
THE_RULE = ".card:has(#require_two_factor)"
NEXT_CLICK = '#details a[href$="/me/password"]'
ZONE = ZoneInfo("America/New_York")
"""Of every clinic here (stack.py)."""


def rule_of(clinic: Clinic) -> dict[str, object]:
    rule: dict[str, object] = ok(clinic.desk.get("/v1/clinic/security"))
    return rule


def test_r17_whoever_requires_it_of_everyone_has_it_themselves_and_sees_first_whom_that_stops(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    working, away, exempt, disabled = (
        clinic.person(),
        clinic.person(phone=new_number()),
        clinic.person(),
        clinic.person(),
    )
    enrolled, _ = clinic.enrolled()
    let_in, gone = clinic.enrolled()
    ok(gone.delete("/v1/session"), 204)
    worker = surfers()
    arrive(worker, working)

    surfer = surfers()
    page = arrive(surfer, clinic.admin)
    surfer.press(f'nav a[href$="{SECURITY}"]')
    surfer.tick("#require_two_factor")
    surfer.press(SAVE)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#require_two_factor")).to_be_checked()
    surfer.press('.note a[href*="/set-up"]')
    set_up(surfer, clinic.admin)
    expect(page).to_have_url(re.compile(rf"{SECURITY}$"))

    clinic.desk.prove(clinic.admin)
    terms = f"/v1/users/{exempt.id}/two-factor/requirement"
    ok(clinic.desk.put(terms, {"requirement": "exempt", "reason": "Works from paper."}))
    ok(clinic.desk.post(f"/v1/users/{let_in.id}/two-factor/bypass", {"reason": "Lost on the ferry."}), 201)
    ok(clinic.desk.patch(f"/v1/users/{disabled.id}", {"disabled": True}))
    surfer.tick("#require_two_factor")
    surfer.fill("#idle_minutes", "25")
    surfer.press(SAVE)
    people = foreseen(page)
    assert people == {
        "stopped_now": {working.email},
        "stopped_at_sign_in": {away.email},
        "no_factor": {working.email, away.email, exempt.email},
        "no_phone": {each.email for each in (clinic.admin, working, exempt, enrolled, let_in)},
        "exempt": {exempt.email},
        "unaffected": {each.email for each in (clinic.admin, enrolled, exempt, let_in)},
    }
    assert rule_of(clinic)["require_two_factor"] is False, "looked at only"
    surfer.press(BACK)
    expect(page.locator("#idle_minutes")).to_have_value("25")
    expect(page.locator("#require_two_factor")).to_be_checked()
    surfer.press(SAVE)
    expect(page.locator(".totals")).to_be_visible()
    surfer.press(SAVE_IT)
    expect(page).to_have_url(done("rule-on"))
    expect(page.locator(f"{THE_RULE} h2 .badge.on")).to_be_visible()
    rule = rule_of(clinic)
    assert (rule["require_two_factor"], rule["idle_minutes"]) == (True, 25)

    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SET_UP)
    worker.fill("#phone", new_number())
    worker.press('form[action$="/set-up/phone"] button')
    set_up(worker, working)
    expect(worker.page).to_have_url(re.compile(r"/me/password$"))


def test_r12_it_is_ended_with_a_fresh_code_and_nothing_that_was_typed_is_lost_on_the_way(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    worker, surfer = surfers(), surfers()
    arrive(worker, clinic.person())
    clinic.require(require_two_factor=True, remember_device_days=30)
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SET_UP)

    page = surfer.sign_in(clinic.admin)
    surfer.tick("#remember")
    surfer.give(clinic.admin.app.code())
    expect(page).to_have_url(MY_INFO)
    sign_out(surfer)
    arrive(surfer, clinic.admin)  # remembered: no code, and no proof either
    surfer.go(SECURITY)
    surfer.tick("#require_two_factor", on=False)
    surfer.fill("#idle_minutes", "25")
    surfer.press(SAVE)
    expect(page.locator("#code")).to_be_visible()
    surfer.give(clinic.admin.app.wrong_code())
    expect(page.get_by_role("alert")).to_be_visible()
    assert rule_of(clinic)["require_two_factor"] is True
    surfer.give(clinic.admin.app.code())
    expect(page).to_have_url(done("rule-off"))
    rule = rule_of(clinic)
    assert (rule["require_two_factor"], rule["idle_minutes"]) == (False, 25)
    worker.go("/me/details")
    expect(worker.page.locator("#name")).to_be_visible()


def test_r17_a_date_on_the_clinics_clock_stops_nobody_before_it_comes_and_is_told_to_staff(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    person = clinic.person()
    worker, surfer = surfers(), surfers()
    arrive(worker, person)
    page = at_desk(surfer, clinic)
    coming = (datetime.now(ZONE) + timedelta(days=3)).replace(hour=6, minute=0, second=0, microsecond=0)
    surfer.tick("#require_two_factor")
    surfer.fill("#enforce_from", f"{coming - timedelta(days=30):%Y-%m-%dT%H:%M}")
    surfer.press(SAVE)
    expect(page.locator("#enforce_from-wrong")).to_be_visible()
    surfer.fill("#enforce_from", f"{coming:%Y-%m-%dT%H:%M}")
    surfer.press(SAVE)
    assert foreseen(page)["stopped_now"] == {person.email}
    surfer.press(SAVE_IT)
    expect(page).to_have_url(done("rule-scheduled"))
    expect(page.locator(f"{THE_RULE} p.soft", has_text="(America/New_York)")).to_contain_text("6:00")
    expect(page.locator(f"{THE_RULE} h2 .badge")).to_have_count(1)
    expect(page.locator(f"{THE_RULE} h2 .badge.on")).to_have_count(0)
    expect(page.locator("#require_two_factor")).to_be_checked()
    planned = rule_of(clinic)
    assert (planned["require_two_factor"], planned["enforce_from"]) == (False, f"{coming.astimezone(UTC):%FT%T}.000Z")

    worker.press(NEXT_CLICK)
    expect(worker.page.locator("#current_password")).to_be_visible()
    worker.go("/me")
    told = worker.page.locator('.note:has(a[href$="/set-up"])')
    expect(told).to_contain_text("America/New_York")
    expect(told).to_contain_text("6:00")
    sign_out(worker)
    worker.go(f"/c/{clinic.slug}?return_to={quote(clinic.stack.public_url + '/me/details', safe='')}")
    worker.fill("#email", person.email)
    worker.fill("#password", person.password)
    worker.press("main form button")
    expect(worker.page).to_have_url(re.compile(r"/announced$"))
    worker.press("main a.quiet")
    expect(worker.page).to_have_url(re.compile(r"/me/details$"))

    surfer.tick("#require_two_factor", on=False)
    surfer.press(SAVE)
    expect(page).to_have_url(done("rule-off"))
    assert rule_of(clinic)["enforce_from"] is None


def test_r03_ways_number_remembering_and_idle_time_are_changed_and_count_for_everybody(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    enrolled, _ = clinic.enrolled()
    newcomer = clinic.person()
    surfer, worker = surfers(), surfers()
    page = at_desk(surfer, clinic)
    surfer.tick("#method_sms", on=False)
    surfer.tick("#phone_required", on=False)
    surfer.fill("#remember_device_days", "7")
    surfer.fill("#idle_minutes", "3")
    surfer.press(SAVE)
    expect(page.locator("#idle_minutes-wrong")).to_be_visible()
    expect(page.locator("#method_sms")).not_to_be_checked()
    surfer.fill("#idle_minutes", "15")
    surfer.press(SAVE)
    expect(page).to_have_url(done("saved"))
    for name, value in (("remember_device_days", "7"), ("idle_minutes", "15")):
        expect(page.locator(f"#{name}")).to_have_value(value)
    rule = rule_of(clinic)
    assert (rule["methods"], rule["phone_required"]) == (["totp"], False)

    signed = clinic.client().sign_in(newcomer)
    begun, ends = (datetime.fromisoformat(signed[name]) for name in ("authenticated_at", "idle_expires_at"))
    assert timedelta(minutes=14) < ends - begun <= timedelta(minutes=15)
    worker.sign_in(enrolled)
    worker.tick("#remember")
    worker.give(enrolled.app.code())
    expect(worker.page).to_have_url(MY_INFO)
    sign_out(worker)
    arrive(worker, enrolled)
    sign_out(worker)
    arrive(worker, newcomer)
    clinic.require(require_two_factor=True)
    worker.press(NEXT_CLICK)
    expect(worker.page.locator('form[action$="/set-up/totp"]')).to_be_visible()
    assert worker.page.locator('form[action$="/set-up/sms"], form[action$="/set-up/phone"]').count() == 0


def test_of_two_administrators_the_second_sees_what_stands_now_and_loses_nothing(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    other, _ = clinic.enrolled("admin")
    person = clinic.person()
    first, second = surfers(), surfers()
    first_page, page = at_desk(first, clinic), signed_in(second, other, SECURITY)
    second.tick("#require_two_factor")
    second.tick("#phone_required", on=False)
    second.fill("#idle_minutes", "25")
    second.press(SAVE)
    assert foreseen(page)["stopped_at_sign_in"] == {person.email}
    first.fill("#idle_minutes", "20")
    first.fill("#remember_device_days", "7")
    first.press(SAVE)
    expect(first_page).to_have_url(done("saved"))
    second.press(SAVE_IT)
    expect(page.get_by_role("alert")).to_contain_text(clinic.admin.name)
    expect(page.locator(".note tbody tr")).to_have_count(1)  # what both have changed, and nothing else
    assert page.locator(".note tbody td").all_inner_texts() == ["20", "25"]
    expect(page.locator("#idle_minutes")).to_have_value("25")
    expect(page.locator("#remember_device_days")).to_have_value("7")
    expect(page.locator("#require_two_factor")).to_be_checked()
    expect(page.locator("#phone_required")).not_to_be_checked()
    assert rule_of(clinic)["idle_minutes"] == 20
    second.press(SAVE)
    expect(page.locator(".totals")).to_be_visible()
    second.press(SAVE_IT)
    expect(page).to_have_url(done("rule-on"))
    rule = rule_of(clinic)
    assert (rule["require_two_factor"], rule["phone_required"], rule["idle_minutes"]) == (True, False, 25)
    assert rule["remember_device_days"] == 7, "what the first has changed and the second has not touched"


def test_r15_a_demand_set_by_hand_goes_before_an_exemption_and_ends_by_hand(
    surfers: OpenBrowser, clinic: Clinic
) -> None:
    exempt = clinic.person()
    clinic.require(require_two_factor=True, phone_required=False)
    terms = f"/v1/users/{exempt.id}/two-factor/requirement"
    ok(clinic.desk.put(terms, {"requirement": "exempt", "reason": "Works from paper."}))
    worker, surfer = surfers(), surfers()
    arrive(worker, exempt)
    page = at_desk(surfer, clinic)
    surfer.press('a[href$="/clinic/security/holds"]')
    surfer.fill("#name", "Ledger!")
    surfer.press('form[action$="/holds/preview"] button')
    expect(page.locator("#name-wrong")).to_be_visible()
    surfer.fill("#name", "ledger")
    surfer.press('form[action$="/holds/preview"] button')
    assert foreseen(page)["stopped_now"] == {exempt.email}
    surfer.press('form[action$="/security/holds"] button')
    expect(page).to_have_url(done("hold-set"))
    box = page.locator("#require_two_factor")
    expect(box).to_be_disabled()
    expect(box).to_be_checked()
    expect(page.locator("#bound")).to_contain_text("ledger")
    assert "bound" in (box.get_attribute("aria-describedby") or "").split()
    worker.press(NEXT_CLICK)
    expect(worker.page).to_have_url(SET_UP)
    expect(worker.page.locator(".note")).to_contain_text("ledger")
    surfer.go(f"/users/{exempt.id}")
    expect(page.locator("#requirement-card > .note")).to_be_visible()
    expect(page.locator("blockquote")).to_contain_text("ledger")

    surfer.go(SECURITY)
    surfer.press('form[action$="/holds/end"] button')
    expect(page).to_have_url(done("hold-ended"))
    expect(box).to_be_enabled()
    worker.go("/me")
    expect(worker.page).to_have_url(MY_INFO)


def test_r15_what_an_app_demands_only_the_app_ends_and_all_else_can_be_changed_meanwhile(
    surfer: Surfer, clinic: Clinic
) -> None:
    options = ("--clinic", clinic.slug, "--name", "Ledger sync", "--scopes", "integrations.write")
    app = clinic.client()
    app.token = json.loads(clinic.stack.command("identity", "create-app", *options).strip().splitlines()[-1])["token"]
    clinic.require(require_two_factor=True)
    demand = "/v1/clinic/integrations/ledger"
    ok(app.put(demand, {"requires_two_factor": True, "max_device_trust_hours": 0}))
    page = at_desk(surfer, clinic)
    expect(page.locator("#require_two_factor")).to_be_disabled()
    expect(page.locator("#bound")).to_contain_text("ledger")
    expect(page.locator(".row", has_text="ledger")).to_contain_text("Ledger sync")
    assert page.locator('form[action$="/holds/end"]').count() == 0
    surfer.fill("#idle_minutes", "20")
    surfer.press(SAVE)
    expect(page).to_have_url(done("saved"))
    rule = rule_of(clinic)
    assert (rule["require_two_factor"], rule["idle_minutes"]) == (True, 20)
    ok(app.delete(demand), 204)
    surfer.go(SECURITY)
    surfer.tick("#require_two_factor", on=False)
    surfer.press(SAVE)
    expect(page).to_have_url(done("rule-off"))
