"""What a person before a browser sees where nothing goes on: a page with a way on and the number to quote."""

import html
import re

import httpx
import pytest

from services.common.errors import unavailable
from services.identity.standing import Standings
from tests.identity.people import PASSWORD, Person, SomeClinic, Stack
from tests.identity.test_forms import Visitor
from tests.identity.test_sign_in_pages import plain

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def check(answer: httpx.Response, status: int, heading: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert f"<h1>{heading}</h1>" in answer.text
    assert f'<code class="long">{answer.headers["x-request-id"]}</code>' in answer.text
    assert re.search(r'<a class="button" href="/[a-z]*">', answer.text), "a way on"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


async def test_browsers_get_pages_where_nothing_is_and_others_get_problems(stack: Stack) -> None:
    async with stack.client(**BROWSER) as browser:
        check(await browser.get("/nowhere/<b>"), 404, "This is not here")
        answer = await browser.get("/sign-out")
        check(answer, 405, "This is not here")
        assert answer.headers["allow"] == "POST"
        check(await browser.get("/me%00"), 404, "This is not here")
        check(await browser.get("/me?x=%00"), 400, "That did not work")
        check(await browser.post("/c/x", content=b"x" * 70_000), 413, "That did not work")
        check(
            await browser.post("/c/x", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "That did not work"
        )
        assert "<b>" not in (await browser.get("/nowhere/<b>")).text
        problem = await browser.get("/v1/nowhere")
        assert problem.headers["content-type"] == "application/problem+json"
    for accept in ("application/json", "*/*", ""):
        async with stack.client(Accept=accept) as app:
            answer = await app.get("/nowhere")
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_failure_of_ours_is_a_page_that_says_nothing_of_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(stack.gateway.activations, "look_up", fail)
    async with stack.client(**BROWSER) as browser:
        answer = await browser.get("/activate/some-token")
        check(answer, 500, "Something went wrong")
        assert "secret" not in answer.text
        assert "some-token" not in answer.text
        refused = await browser.get("/v1/activations/some-token")
        assert refused.json()["type"].endswith("internal-error")


async def test_what_is_away_for_a_moment_is_tried_again_at_the_same_page(
    stack: Stack, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor(stack, **BROWSER)
    await visitor.sign_in(person)

    async def away(*_: object, **__: object) -> None:
        raise unavailable("otp")

    monkeypatch.setattr(Standings, "stand", away)
    answer = await visitor.http.get("/me")
    check(answer, 503, "Just a moment")
    assert 'href="/me">Try again</a>' in answer.text
    assert answer.headers["retry-after"] == "2"


async def test_who_tried_too_often_is_told_how_long_to_wait(clinic: SomeClinic) -> None:
    person = await clinic.person()
    visitor = Visitor(clinic.stack, **BROWSER)
    path = f"/c/{clinic.slug}"
    form = {"csrf": await visitor.token_in(path), "email": person.email, "password": "wrong, and again wrong"}
    for _ in range(30):
        answer = await visitor.http.post(path, data=form)
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert wait > 0
    assert re.search(r"Try again in \d+ (second|minute|hour)s?\.", plain(answer))
    assert person.email in html.unescape(answer.text), "what was typed is still there"
    assert PASSWORD not in answer.text
    assert answer.headers["x-request-id"] in answer.text


async def test_a_link_that_is_not_known_says_so_on_a_page(stack: Stack) -> None:
    async with stack.client(**BROWSER) as browser:
        answer = await browser.get("/activate/no-such-token")
        check(answer, 404, "This is not here")
        assert "Check that it was copied whole." in plain(answer)
