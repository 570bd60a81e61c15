"""The door, opened by somebody who is signed in: the way on, who they are, and the form for somebody else."""

import html
import re
from datetime import timedelta

import httpx
import pytest

from tests.identity.people import Person, SomeClinic, Stack
from tests.identity.playing import words_of
from tests.identity.test_forms import Visitor

APP = "https://app.harbour.example/notes"


@pytest.fixture
async def named(clinic: SomeClinic) -> Person:
    person = await clinic.person()
    clinic.stack.sql("UPDATE app_user SET name = 'Mina <Okafor>' WHERE id = %s", [person.id])
    return person


def way_on_in(page: httpx.Response) -> str:
    """Where the note about whoever is signed in leads; '' where there is none."""
    found = re.search(r'<div class="note">\s*<p>[^<]*<a href="([^"]*)"', page.text)
    return html.unescape(found[1]) if found else ""


async def test_whoever_is_signed_in_goes_on_from_the_first_page(stack: Stack, named: Person) -> None:
    visitor = Visitor(stack)
    door = f"/c/{named.clinic.slug}"
    assert (await visitor.http.get("/")).status_code == 200, "a browser that nobody knows"
    await visitor.sign_in(named)
    assert (await visitor.http.get("/")).headers["location"] == "/me"
    assert "clinic" in words_of((await visitor.http.get("/?again")).text), "another one can be chosen"
    gone = await visitor.http.post("/sign-out", data={"csrf": await visitor.token_in("/me")})
    assert gone.headers["location"] == f"{door}?done=signed-out"
    assert (await visitor.http.get("/")).headers["location"] == door


async def test_the_clinics_door_shows_who_is_signed_in_above_the_form(stack: Stack, named: Person) -> None:
    visitor = Visitor(stack)
    door = f"/c/{named.clinic.slug}"
    assert way_on_in(await visitor.http.get(door)) == ""
    await visitor.sign_in(named)
    page = await visitor.http.get(door)
    assert page.status_code == 200
    assert "Mina <Okafor>" in words_of(page.text)
    assert 'autocomplete="current-password"' in page.text
    assert way_on_in(page) == "/me"
    other = await named.clinic.person()
    token = visitor.http.cookies["countersign"]
    await visitor.sign_in(other)
    assert (await stack.call("GET", "/v1/session", token=token)).json()["cause"] == "ended"
    assert other.email in (await visitor.http.get("/me")).text


async def test_an_app_that_sends_somebody_who_is_in_gets_them_back_by_one_click(stack: Stack, named: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(named)
    door = f"/c/{named.clinic.slug}"
    own = f"{stack.settings.public_origin}/app/notes"
    for asked, back in ((APP, APP), ("/app/notes", own)):
        page = await visitor.http.get(door, params={"return_to": asked})
        assert page.status_code == 200, "an app that does not see them signed in would send them here for ever"
        assert way_on_in(page) == back
    assert (await visitor.http.get("/", params={"return_to": APP})).headers["location"] == door
    assert way_on_in(await visitor.http.get(door)) == APP
    assert (await visitor.http.get("/")).headers["location"] == APP
    for evil in ("//evil.example", f"{stack.settings.public_origin}.evil.example/", "https://evil.example/"):
        page = await visitor.http.get(door, params={"return_to": evil})
        assert way_on_in(page) == "/me"
        assert "evil" not in page.text


async def test_who_is_not_through_yet_goes_on_to_where_they_have_to(stack: Stack, clinic: SomeClinic) -> None:
    asked, forced = await clinic.person(), await clinic.person()
    await asked.sign_in()
    await asked.enrol_totp()
    await clinic.require_here()
    door = f"/c/{clinic.slug}"
    for person, way in ((asked, "/code"), (forced, "/set-up")):
        visitor = Visitor(stack)
        await visitor.sign_in(person)
        assert (await visitor.http.get("/")).headers["location"] == way
        assert way_on_in(await visitor.http.get(door)) == way
        assert way_on_in(await visitor.http.get(door, params={"return_to": APP})) == way
    stack.clock.advance(timedelta(minutes=31))
    assert (await visitor.http.get("/")).headers["location"] == door, "it is over"
    assert way_on_in(await visitor.http.get(door)) == ""


async def test_r5_at_a_shared_computer_nobody_is_led_on(stack: Stack, named: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(named)
    marker = stack.gateway.cookies.shared_marker(named.clinic.id)  # type: ignore[arg-type]
    visitor.http.cookies.set(marker["key"], marker["value"])
    door = f"/c/{named.clinic.slug}"
    assert (await visitor.http.get("/")).headers["location"] == door
    page = await visitor.http.get(door)
    assert "Mina <Okafor>" in words_of(page.text)
    assert way_on_in(page) == "/me"


async def test_another_clinics_door_and_another_sites_page_say_nothing(stack: Stack, named: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(named)
    other = await stack.make_clinic()
    for door in (f"/c/{other.slug}", "/c/no-such-clinic"):
        assert way_on_in(await visitor.http.get(door)) == ""
    foreign = await visitor.http.get(f"/c/{named.clinic.slug}", headers={"Origin": "https://evil.example"})
    assert "Okafor" not in foreign.text
    by_bearer = await stack.call("GET", f"/c/{named.clinic.slug}", token=visitor.http.cookies["countersign"])
    assert "Okafor" not in by_bearer.text
    await stack.stop_policy()
    stack.clock.advance(timedelta(minutes=1))
    assert (await visitor.http.get(f"/c/{named.clinic.slug}")).status_code == 200
