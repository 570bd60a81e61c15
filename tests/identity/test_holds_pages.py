"""Required by integrations, a shared computer and the picture of adoption, on the page of the clinic's security."""

import re
from datetime import timedelta

import pytest

from services.identity.adoption import Counts
from services.identity.pages.clinic.adoption_picture import WIDTH, picture_of
from services.identity.policy_words import Actor, HoldTerms
from tests.identity.people import Person, SomeClinic, Stack
from tests.identity.test_clinic_security_pages import PAGE, Administrator, inputs, plain, rule_of, wrong

HOLDS = f"{PAGE}/holds"


@pytest.fixture
async def at_desk(stack: Stack, admin: Person) -> Administrator:
    return await Administrator(stack, admin).enter()


async def demand(stack: Stack, clinic: SomeClinic, by: Actor, hours: int | None = None, requires: bool = True) -> None:
    """A hold, as another replica would set it."""
    settings = stack.gateway.integrations._settings
    await settings.put_hold(clinic.id, HoldTerms("ledger", requires, hours), by)  # type: ignore[arg-type]
    stack.gateway.standings.forget_clinic(clinic.id)  # type: ignore[arg-type]


async def test_r15_a_hold_is_shown_and_keeps_the_box_ticked(at_desk: Administrator, clinic: SomeClinic) -> None:
    stack, admin = at_desk.web, at_desk.person
    stale = await at_desk.form()
    await clinic.require_here()
    await demand(stack, clinic, Actor("app", "app_ledger"), hours=36)
    shown = await at_desk.http.get(PAGE)
    words = plain(shown.text)
    assert "It cannot be unticked or postponed while an integration requires it: ledger." in words
    assert "Since 16 November 2026, 09:3" in words
    assert "set by the app app_ledger. Only that app, or an operator, can end it." in words
    assert words.count("ledger lets a browser be remembered for 36 hours at most.") == 2, "there and beside the days"
    box = re.search(r'<input type="checkbox" id="require_two_factor"[^>]*>', shown.text)
    assert box
    assert " disabled" in box[0]
    assert 'aria-describedby="require_two_factor-hint bound"' in box[0]
    assert f'action="{HOLDS}/end"' not in shown.text, "nothing to end for an administrator"

    saved = await at_desk.save(idle_minutes="11")
    assert saved.headers["location"] == f"{PAGE}?done=saved"
    for typed in ({"require_two_factor": None}, {"enforce_from": "2027-03-01T06:00"}):
        refused = await at_desk.save(**typed)
        assert refused.status_code == 409
        assert "cannot be turned off or postponed" in plain(refused.text)
        assert "It is required by: ledger." in plain(refused.text)
    assert (await at_desk.send(f"{PAGE}/preview", stale)).status_code == 303, "a stale form that nobody has touched"
    assert (await rule_of(admin))["require_two_factor"] is True


async def test_a_hold_by_hand_is_looked_at_set_and_ended(at_desk: Administrator, person: Person) -> None:
    await person.sign_in()
    form = inputs((await at_desk.http.get(HOLDS)).text, f"{HOLDS}/preview")
    assert form["requires_two_factor"] == "yes"
    form |= {"name": "ledger.v2", "max_device_trust_hours": "48"}
    preview = await at_desk.send(f"{HOLDS}/preview", form)
    words = plain(preview.text)
    assert "ledger.v2 will require two-factor authentication of everyone." in words
    assert "be remembered for 2 days at most." in words
    assert "Stopped at once: 1" in words
    assert await person.state() == "active"
    back = await at_desk.http.post(f"{HOLDS}/preview", data=inputs(preview.text, f"{HOLDS}/preview"))
    again = inputs(back.text, f"{HOLDS}/preview")
    assert {name: again[name] for name in ("name", "max_device_trust_hours")} == {
        "name": "ledger.v2",
        "max_device_trust_hours": "48",
    }
    saved = await at_desk.save_from(preview, HOLDS)
    assert saved.headers["location"] == f"{PAGE}?done=hold-set"
    assert await person.state() == "enrolment_required"

    at_desk.person.stack.clock.advance(timedelta(minutes=6))
    page = await at_desk.http.get(PAGE)
    assert "set by Mina Okafor." in plain(page.text)
    end = inputs(page.text, f"{HOLDS}/end")
    asked = await at_desk.send(f"{HOLDS}/end", end)
    assert "One more code, please" in asked.text
    sent = inputs(asked.text, "/code") | {"code": at_desk.person.code()}
    assert (await at_desk.http.post("/code", data=sent)).headers["location"] == f"{HOLDS}/end"
    ended = await at_desk.http.post(f"{HOLDS}/end", data=sent)
    assert ended.headers["location"] == f"{PAGE}?done=hold-ended"
    assert await person.state() == "active"
    gone = await at_desk.http.post(f"{HOLDS}/end", data=end)
    assert (gone.status_code, "There is no integration of this name." in plain(gone.text)) == (404, True)
    assert (await at_desk.http.get(f"{HOLDS}/preview")).headers["location"] == HOLDS


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("name", "The Ledger", "Use a to z, 0 to 9, dots, hyphens and underscores"),
        ("name", "", "Use a to z, 0 to 9, dots, hyphens and underscores"),
        ("name", "x" * 64, "This must have 63 or fewer characters."),
        ("max_device_trust_hours", "2161", "This must be 2160 or less."),
        ("max_device_trust_hours", "a day", "Write a whole number."),
    ],
)
async def test_a_hold_that_makes_no_sense_is_refused_beside_its_field(
    at_desk: Administrator, name: str, typed: str, words: str
) -> None:
    form = inputs((await at_desk.http.get(HOLDS)).text, f"{HOLDS}/preview") | {"name": "ledger", name: typed}
    for path in (f"{HOLDS}/preview", HOLDS):
        refused = await at_desk.send(path, form)
        assert refused.status_code == 422
        assert wrong(refused, name).startswith(words)
        assert inputs(refused.text, f"{HOLDS}/preview")[name] == typed


async def test_what_an_app_has_set_no_administrator_loosens_or_ends(at_desk: Administrator, clinic: SomeClinic) -> None:
    await demand(at_desk.web, clinic, Actor("app", "app_ledger"))
    form = inputs((await at_desk.http.get(HOLDS)).text, f"{HOLDS}/preview") | {"name": "ledger"}
    for path in (f"{HOLDS}/preview", HOLDS):
        refused = await at_desk.send(path, form)
        assert (refused.status_code, "An app has set this hold" in plain(refused.text)) == (403, True)
    refused = await at_desk.send(f"{HOLDS}/end", form)
    assert (refused.status_code, "only the app itself or an operator" in plain(refused.text)) == (403, True)


async def test_without_an_own_second_factor_no_hold_is_ended(stack: Stack, clinic: SomeClinic) -> None:
    admin = await clinic.person("admin")
    await demand(stack, clinic, Actor("operator"), hours=0, requires=False)
    desk = await Administrator(stack, admin).enter()
    page = await desk.http.get(PAGE)
    assert "ledger allows no remembered browsers at all." in plain(page.text)
    assert "set by an operator." in plain(page.text)
    refused = await desk.send(f"{HOLDS}/end", inputs(page.text, f"{HOLDS}/end"))
    assert (refused.status_code, "for yourself first" in plain(refused.text)) == (409, True)


async def test_r05_this_computer_is_marked_as_shared_and_taken_back(at_desk: Administrator, clinic: SomeClinic) -> None:
    cookies, admin = at_desk.web.gateway.cookies, at_desk.person
    form = inputs((await at_desk.http.get(PAGE)).text, f"{PAGE}/shared-computer")
    marked = await at_desk.http.post(f"{PAGE}/shared-computer", data=form)
    assert marked.headers["location"] == f"{PAGE}?done=shared"
    assert cookies.is_shared(at_desk.http.cookies)
    page = await at_desk.http.get(PAGE)
    assert "it remembers nobody, so everyone gives a code at every sign-in" in plain(page.text)
    form = inputs(page.text, f"{PAGE}/shared-computer")
    taken_back = await at_desk.http.post(f"{PAGE}/shared-computer", data=form)
    assert taken_back.headers["location"] == f"{PAGE}?done=not-shared"
    assert not cookies.is_shared(at_desk.http.cookies)
    assert admin.stack.events(admin.id)[-2:] == ["device.shared", "device.unshared"]


async def test_adoption_is_a_picture_and_a_table_with_the_same_numbers(
    at_desk: Administrator, clinic: SomeClinic
) -> None:
    others = [await clinic.person() for _ in range(3)]
    exempt = {"requirement": "exempt", "reason": "On leave."}
    path = f"/v1/users/{others[0].id}/two-factor/requirement"
    assert (await at_desk.person.call("PUT", path, exempt)).status_code == 200
    page = (await at_desk.http.get(PAGE)).text
    words = plain(page)
    assert "Set up 1 of 4 (25 %) Show Set up" in words
    assert "Not set up yet 3 Show" in words
    assert "Exempt 1 Show" in words
    assert '<rect class="bar-enrolled" width="100" height="20"' in page
    for link in ("/users?show=missing", "/users?show=enrolled", "/users?show=exempt", "/users/export"):
        assert f'href="{link}"' in page
        assert (await at_desk.http.get(link)).status_code == 200


def test_of_a_bar_nothing_is_none_and_all_is_everybody() -> None:
    for total, enrolled, width in (
        (0, 0, 0),
        (5, 0, 0),
        (9999, 1, 4),
        (9999, 9998, WIDTH - 4),
        (7, 7, WIDTH),
        (2, 1, 200),
    ):
        assert picture_of(Counts(total=total, enrolled=enrolled)).enrolled_width == width
