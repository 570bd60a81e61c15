"""Attacks on whoever sits before the pages: steps left out, replies changed on their way, forms of other sites."""

import json
import re

import httpx
import pytest
from fastapi.routing import APIRoute
from playwright.async_api import Page, Route, expect

from services.identity.pages import router as pages
from tests.identity.people import Person, SomeClinic, Stack, slug_of
from tests.identity.playing import Player
from tests.identity.test_forms import FOREIGN, Visitor
from tests.identity.test_pages import browser, page, sign_in, web

__all__ = ["browser", "page", "web"]

OPEN_TO_ALL = {"/", "/c/{slug}", "/c/{slug}/forgotten", "/help", "/help/{topic}", "/activate/{token}"}
"""Pages that need no session."""
WAITING = {"/code", "/code/text", "/code/lost", "/code/forgotten"}
"""Pages of whoever waits for a code."""
SET_UP = {"/set-up", "/set-up/totp/{enrolment_id}", "/set-up/sms/{enrolment_id}"}


@pytest.fixture
async def enrolled(person: Person) -> Person:
    await person.sign_in()
    await person.enrol_totp()
    return person


def paths_of(method: str) -> set[str]:
    return {route.path for route in pages.routes() if isinstance(route, APIRoute) and method in (route.methods or ())}


def closed_pages(open_too: set[str]) -> list[str]:
    paths = paths_of("GET")
    found = sorted(path for path in paths - OPEN_TO_ALL - WAITING - open_too if not path.startswith("/static"))
    assert len(found) > 15
    return [re.sub(r"\{\w+\}", "x", path) for path in found]


async def test_a26_after_the_password_every_page_leads_to_the_code(stack: Stack, enrolled: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(enrolled)
    for path in closed_pages(set()):
        answer = await visitor.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/code"), path


async def test_a26_whoever_must_set_up_is_led_there_from_every_page(stack: Stack, clinic: SomeClinic) -> None:
    await clinic.require_here()
    visitor = Visitor(stack)
    await visitor.sign_in(await clinic.person())
    for path in closed_pages(SET_UP):
        answer = await visitor.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/set-up"), path


async def test_a26_the_back_button_shows_nothing_that_is_over(web: Stack, page: Page) -> None:
    clinic = await web.make_clinic()
    person = await clinic.person()
    await sign_in(page, web, person)
    await expect(page.get_by_text(person.email).first).to_be_visible()
    await page.locator("form.sign-out button").click()
    await expect(page.locator("#password")).to_be_visible()
    await page.go_back()
    await expect(page.locator("#password")).to_be_visible()
    assert person.email not in await page.content()
    await person.sign_in()
    await person.enrol_totp()
    await sign_in(page, web, person)
    await expect(page.locator("#code")).to_be_visible()
    await page.go_back()
    await page.goto(f"{web.settings.public_url}/me")
    await expect(page.locator("#code")).to_be_visible()


async def test_a27_a_reply_that_is_changed_on_its_way_opens_nothing(web: Stack, page: Page) -> None:
    """Somebody between browser and gateway makes a "yes" of the refusal, in the page and in what an app reads."""
    clinic = await web.make_clinic()
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    refused: list[int] = []

    async def lie(route: Route) -> None:
        if route.request.method == "GET":
            await route.continue_()
            return
        answer = await route.fetch(max_redirects=0)
        refused.append(answer.status)
        await route.fulfill(status=200, content_type="text/html", body='<a id="on" href="/me">You are signed in</a>')

    await page.route("**/code", lie)
    await sign_in(page, web, person)
    await page.locator("#code").fill(person.wrong_code())
    await page.locator("#on").click()
    assert refused == [422]
    await expect(page.locator("#code")).to_be_visible()
    assert page.url.endswith("/code")
    cookie = next(one for one in await page.context.cookies() if one["name"] == web.gateway.cookies.name)
    session = (await web.call("GET", "/v1/session", token=cookie["value"])).json()
    assert (session["state"], session["amr"], session["verified_at"]) == ("second_factor_required", ["pwd"], None)
    told = json.loads(json.dumps(session)) | {"state": "active", "acr": "aal2", "mfa_required": False}
    answer = await web.call("PATCH", "/v1/me", {"name": told["user"]["name"]}, token=cookie["value"])
    assert (answer.status_code, slug_of(answer)) == (403, "second-factor-required"), "whatever an app was told"


async def test_a41_no_other_site_begins_or_ends_a_set_up_in_somebodys_browser(stack: Stack, clinic: SomeClinic) -> None:
    """With the attacker's own key, the attacker's app would show the victim's codes from then on."""
    victim, attacker = await clinic.person(), await clinic.person()
    for one in (victim, attacker):
        await one.sign_in()
    player = Player(victim)
    own = await player.send("/set-up/totp")
    begun = own.headers["location"].rpartition("/")[2]
    theirs = (await attacker.call("POST", "/v1/me/two-factor/totp")).json()
    attacker.secret = theirs["secret"]
    token = await player.token_in("/me/details")
    forms = ("/set-up/totp", f"/set-up/totp/{begun}", f"/set-up/totp/{theirs['enrolment_id']}", "/set-up/sms")
    for path in forms:
        for csrf, headers in ((token, {"Origin": FOREIGN}), ("", {}), (token, {"Sec-Fetch-Site": "cross-site"})):
            sent = {"csrf": csrf, "code": attacker.code()}
            assert (await player.http.post(path, data=sent, headers=headers)).status_code == 403, (path, headers)
    api = "/v1/me/two-factor/totp"
    for path, body in ((api, {}), (f"{api}/{theirs['enrolment_id']}/confirm", {"code": attacker.code()})):
        for headers in ({"Origin": FOREIGN, "X-CSRF-Token": token}, {}):
            assert (await player.http.post(path, json=body, headers=headers)).status_code == 403, (path, headers)
    # Even by the victim's own form, another's set-up is nobody's here.
    sent = {"csrf": token, "code": attacker.code()}
    lured = await player.http.post(f"/set-up/totp/{theirs['enrolment_id']}", data=sent)
    assert lured.headers["location"] == "/me?done=set-up-over"
    assert (await victim.call("GET", "/v1/me/two-factor")).json()["enabled"] is False


async def test_a43_the_key_is_shown_until_it_is_confirmed_and_never_again(person: Person) -> None:
    await person.sign_in()
    player = Player(person)
    place = (await player.send("/set-up/totp")).headers["location"]
    shown = await player.http.get(place)
    assert shown.headers["cache-control"] == "no-store"
    person.secret = key_in(shown)
    token = await player.token_in(place)
    done = await player.http.post(place, data={"csrf": token, "code": person.code()})
    assert done.status_code == 200
    assert done.headers["cache-control"] == "no-store"
    assert key_in(done) == ""
    for path in (place, f"/v1/me/two-factor/totp/{place.rpartition('/')[2]}/qr.svg"):
        again = await player.http.get(path)
        assert again.headers.get("location", "") == ("/me?done=set-up-over" if path == place else "")
        assert again.status_code == (303 if path == place else 410)
        assert again.headers["cache-control"] == "no-store"
        assert person.secret not in again.text


async def test_a62_no_page_is_changed_by_an_address_and_no_form_by_another_kind_of_text(person: Person) -> None:
    await person.sign_in()
    player = Player(person)
    token = await player.token_in("/me/details")
    for path in sorted(paths_of("POST") - paths_of("GET")):
        answer = await player.http.get(re.sub(r"\{\w+\}", "x", path))
        assert answer.status_code in (303, 403, 404, 405), path
        assert "/me?done=" not in answer.headers.get("location", "")
    body = httpx.QueryParams({"csrf": token, "name": "Somebody Else"})
    for kind in ("text/plain", "application/json"):
        sent = await player.http.post("/me/details", content=str(body), headers={"Content-Type": kind})
        assert sent.status_code == 415
    assert "Somebody Else" not in await player.text("/me")


def key_in(shown: httpx.Response) -> str:
    found = re.search(r"secret=([A-Z2-7]{32})", shown.text)
    return found[1] if found else ""
