"""Somebody at a browser without a screen: what tests of pages have in common."""

import html
import re

import httpx

from tests.identity.people import Person
from tests.identity.test_forms import Visitor


class Player(Visitor):
    """Signed in with the session that the person has; every form is one of that session."""

    def __init__(self, person: Person, **headers: str) -> None:
        super().__init__(person.stack, **headers)
        self.http.cookies.set(person.stack.gateway.cookies.name, person.token)
        self.person = person

    @property
    def token(self) -> str:
        """The token as it is after all that was done."""
        return self.http.cookies[self.web.gateway.cookies.name]

    async def text(self, path: str) -> str:
        page = await self.http.get(path)
        assert page.status_code == 200, (page.status_code, page.headers.get("location"), page.text[:1000])
        return page.text

    async def words(self, path: str) -> str:
        return words_of(await self.text(path))

    async def send(self, path: str, **fields: str) -> httpx.Response:
        csrf = await self.token_in("/me/details")
        return await self.http.post(path, data={"csrf": csrf, **fields})

    async def send_enrolling(self, path: str, **fields: str) -> httpx.Response:
        """From a session that is let nowhere but to the set-up."""
        return await self.http.post(path, data={"csrf": await self.token_in("/set-up"), **fields})


def words_of(page: str) -> str:
    """The words between head and foot."""
    main = page.partition("<main")[2].partition("</main>")[0] or page
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def location_of(answer: httpx.Response) -> str:
    assert answer.status_code == 303, (answer.status_code, words_of(answer.text)[:500])
    return answer.headers["location"]


def codes_in(page: str) -> list[str]:
    return re.findall(r"<li>([0-9A-Z]{4}(?:-[0-9A-Z]{4}){3})</li>", page)
