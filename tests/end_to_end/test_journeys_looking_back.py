"""What administrators look at afterwards, in a browser: the trail of all that was done, and how far the clinic has
come."""

import csv
import io
import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.end_to_end.administering import SAVE, SECURITY, at_desk, done
from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.manners import in_every_manner

pytestmark = [in_every_manner, pytest.mark.timeout(120)]
SHOW = 'form[action$="/audit"] button'
MORE = "nav.actions a"


def happened(page: Page) -> list[str]:
    """Each event of the page with all its details, the newest first."""
    page.wait_for_load_state()
    return page.locator("tbody tr").all_text_contents()


def test_r19_what_was_done_is_in_the_trail_is_found_there_and_taken_along(surfer: Surfer, clinic: Clinic) -> None:
    people = [clinic.person() for _ in range(9)]
    person = people[4]
    page = at_desk(surfer, clinic)
    surfer.fill("#idle_minutes", "20")
    surfer.press(SAVE)
    expect(page).to_have_url(done("saved"))
    surfer.go(f"/users/{person.id}")
    surfer.choose("#requirement", "required")
    surfer.fill("#reason", "Orders supplies.")
    surfer.press('form[action$="/requirement"] button')
    expect(page).to_have_url(done("requirement-saved"))

    surfer.press('nav a[href$="/audit"]')
    expect(page.locator("tbody tr")).to_have_count(25)
    newest, earlier = happened(page)[:2]
    for text in ("requirement.changed", "Orders supplies.", clinic.admin.name, person.name):
        assert text in newest
    assert "clinic_rule.changed" in earlier
    assert "20" in earlier
    surfer.press("tbody tr summary")
    expect(page.locator("tbody tr dl").first).to_be_visible()

    first = happened(page)
    surfer.press(f"{MORE}:last-child")
    expect(page).to_have_url(re.compile("cursor="))
    older = happened(page)
    assert older
    assert not set(older) & set(first)
    surfer.press(f"{MORE}:first-child")
    expect(page).to_have_url(re.compile(r"/audit$"))
    assert happened(page) == first

    surfer.fill("#person", person.email)
    surfer.press(SHOW)
    expect(page).to_have_url(re.compile("person="))
    of_person = happened(page)
    for kind in ("requirement.changed", "user.added", "user.activated"):
        assert any(kind in event for event in of_person), kind
    assert all(person.name in event for event in of_person)
    surfer.choose("#kind", "user.activated")
    surfer.press(SHOW)
    expect(page.locator("tbody tr")).to_have_count(1)
    with page.expect_download() as saved:
        surfer.press('a[href*="form=jsonl"]')
    lines = [json.loads(line) for line in saved.value.path().read_text().splitlines()]
    assert [(line["kind"], line["subject_id"]) for line in lines] == [("user.activated", person.id)]

    surfer.press('main p a[href$="/audit"]')
    expect(page.locator("tbody tr")).to_have_count(25)
    with page.expect_download() as saved:
        surfer.press('a[href*="form=csv"]')
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert len([row for row in rows if row["kind"] == "user.activated"]) == len(people) + 1, "and the administrator"
    assert rows[0]["kind"] == "requirement.changed"
    whole = ok(clinic.desk.get("/v1/audit-events", params={"limit": 500}))["events"]
    assert {row["id"] for row in rows} <= {event["id"] for event in whole}


def test_whom_a_name_may_mean_is_asked(surfer: Surfer, clinic: Clinic) -> None:
    one, two = clinic.person(), clinic.person("receptionist")
    page = at_desk(surfer, clinic, "/audit")
    surfer.fill("#person", clinic.slug)
    surfer.press(SHOW)
    expect(page.locator(".others li")).to_have_count(3)
    expect(page.locator("tbody tr")).to_have_count(0)
    surfer.press(f'.others li:has-text("{two.email}") a')
    expect(page).to_have_url(re.compile("user="))
    assert all(two.name in event and one.name not in event for event in happened(page))
    surfer.fill("#person", "nobody-of-this-name")
    surfer.press(SHOW)
    expect(page.locator("#person-wrong")).to_be_visible()


def test_how_far_the_clinic_has_come_is_drawn_and_counted(surfer: Surfer, clinic: Clinic) -> None:
    clinic.enrolled()
    missing, exempt, disabled = clinic.person(), clinic.person(), clinic.person()
    page = at_desk(surfer, clinic)
    terms = f"/v1/users/{exempt.id}/two-factor/requirement"
    ok(clinic.desk.put(terms, {"requirement": "exempt", "reason": "Works from paper."}))
    ok(clinic.desk.patch(f"/v1/users/{disabled.id}", {"disabled": True}))
    surfer.go(SECURITY)
    counts = [sorted(map(int, re.findall(r"\d+", text))) for text in page.locator(".counts tr").all_inner_texts()]
    assert counts == [[2, 4, 50], [2], [1]]
    assert page.locator("rect.bar-enrolled").first.get_attribute("width") == "200"
    assert page.locator("rect.bar-exempt").first.get_attribute("width") == "100"
    surfer.press('.counts a[href$="show=missing"]')
    expect(page.locator("#show")).to_have_value("missing")
    assert set(page.locator("tbody .long").all_inner_texts()) == {missing.email, exempt.email}
