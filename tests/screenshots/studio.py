"""What every scene has at hand: the stack, a browser, the album, and clinics with believable people.

Names, addresses and numbers belong to nobody: domains under .example (RFC 2606) and the range of mobile numbers that
Ofcom keeps for fiction, +44 7700 900000 to 900999.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from playwright.sync_api import Browser, Page

from tests.end_to_end.browsing import Surfer
from tests.end_to_end.client import Authenticator, Client, Person, ok, step_now
from tests.end_to_end.clinics import Clinic, new_address
from tests.end_to_end.stack import LocalStack
from tests.screenshots.album import Album

LONG_NAME = "Dr. Wilhelmina Featherstonehaugh-Vandenberghe de la Rochefoucauld"
LONG_EMAIL = "wilhelmina.featherstonehaugh-vandenberghe.de.la.rochefoucauld@paediatric-and-sports-rehabilitation"
_NUMBERS: Iterator[int] = itertools.count(123)
_COMPUTER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"


class House(Clinic):
    """A clinic whose people have names."""

    def add(self, name: str, role: str = "practitioner", *, email: str = "", phone: str = "") -> Person:
        """Someone who has chosen a password."""
        person, token = self.invited(name, role, email=email, phone=phone)
        ok(self.client().post(f"/v1/activations/{token}", {"password": person.password}), 204)
        return person

    def invited(self, name: str, role: str = "practitioner", *, email: str = "", phone: str = "") -> tuple[Person, str]:
        """Someone who has not, and the token of their link."""
        local = name.removeprefix("Dr. ").lower().replace(" ", ".")
        address = email or f"{local.encode('ascii', 'ignore').decode()}@{self.slug}.example"
        wanted = {"email": address, "name": name, "role": role} | ({"phone": phone} if phone else {})
        answer = ok(self.desk.post("/v1/users", wanted), 201)
        return Person(self.slug, address, name, role, answer["user"]["id"], phone=phone), answer["activation"]["token"]

    def with_app(self, person: Person) -> Client:
        """They set an authenticator app up, at a computer of theirs."""
        client = self.client()
        client.http.headers["User-Agent"] = _COMPUTER
        client.sign_in(person)
        _set_up_app(client, person)
        return client

    def with_texts(self, person: Person, client: Client | None = None) -> Client:
        """They set up codes by text message, beside the app where they have one."""
        if client is None:
            client = self.client()
            client.sign_in(person)
        person.phone = person.phone or new_number()
        begun = ok(client.post("/v1/me/two-factor/sms", {"phone": person.phone}), 202)
        code = self.texted(person.phone)
        answer = _confirmed(client, f"/v1/me/two-factor/sms/{begun['enrolment_id']}/confirm", lambda: code)
        client.token = answer["session"]["token"]
        person.backup_codes = answer.get("backup_codes") or person.backup_codes
        return client

    def refresh(self) -> None:
        """The administrator gives a fresh code, or sets an app up for it."""
        if self.admin.authenticator is None:
            _set_up_app(self.desk, self.admin)
        else:
            self.desk.prove(self.admin, "backup_code")

    def require(self, **change: Any) -> dict[str, Any]:
        self.refresh()
        return super().require(**change)

    def set_for(self, person: Person, **requirement: Any) -> None:
        ok(self.desk.put(f"/v1/users/{person.id}/two-factor/requirement", requirement))


class Studio:
    """`language`: a browser's locale."""

    def __init__(self, stack: LocalStack, browser: Browser, album: Album, language: str) -> None:
        self.stack, self.browser, self.album, self.language = stack, browser, album, language
        self._surfers: list[Surfer] = []

    def house(self, slug: str, name: str) -> House:
        """A clinic in London; the other languages' have their own short names."""
        slug = slug if self.language == "en-GB" else f"{slug}-{self.language[:2]}"
        email = f"ada.lindqvist@{slug}.example"
        told = self.stack.command(
            "identity",
            "create-clinic",
            *("--slug", slug, "--name", name, "--timezone", "Europe/London", "--country", "GB"),
            *("--admin-email", email, "--admin-name", "Ada Lindqvist"),
        )
        house = House(self.stack, json.loads(told.strip().splitlines()[-1]), slug, name, email)
        house.admin.name = "Ada Lindqvist"
        return house

    def surfer(self) -> Surfer:
        """Somebody's browser."""
        headers = {"X-Forwarded-For": new_address()}
        self._surfers.append(Surfer(self.browser, self.stack, locale=self.language, extra_http_headers=headers))
        return self._surfers[-1]

    def shoot(self, page: Page, name: str, *, dark: bool = True) -> None:
        self.album.shoot(page, name, dark=dark)

    def visit(self, surfer: Surfer, path: str, name: str, *, dark: bool = True) -> Page:
        """Opens an address and takes its picture."""
        self.shoot(surfer.go(path), name, dark=dark)
        return surfer.page

    def fault(self, kind: str, number: str) -> None:
        """What the stand-in for Twilio is to do with the next text to this number."""
        answer = httpx.post(f"{self.stack.twilio}/faults", json={"kind": kind, "to": number}, trust_env=False)
        answer.raise_for_status()

    def close(self) -> None:
        """Raises where a page did what it should not."""
        for surfer in self._surfers:
            surfer.close()


def _set_up_app(client: Client, person: Person) -> None:
    begun = client.start_totp()
    person.authenticator = app = Authenticator(begun["secret"])

    def code() -> str:
        # Of now, and not of the step before, as tests give it: nothing here is in a hurry.
        app.last_step = step_now()
        return app.last_code()

    answer = _confirmed(client, f"/v1/me/two-factor/totp/{begun['enrolment_id']}/confirm", code)
    client.token, person.backup_codes = answer["session"]["token"], list(answer["backup_codes"])


def _confirmed(client: Client, path: str, code: Callable[[], str]) -> dict[str, Any]:
    """Ten backup codes are hashed meanwhile; on a machine with much else to do that may take too long."""
    confirmed = client.post(path, {"code": code()})
    for _ in range(10):
        if confirmed.status_code != 503:
            break
        time.sleep(confirmed.json()["retry_after"])
        confirmed = client.post(path, {"code": code()})
    answer: dict[str, Any] = ok(confirmed)
    return answer


def new_number() -> str:
    """A number nobody has, and no other of this run."""
    return f"+447700900{next(_NUMBERS):03}"


def unfold(page: Page) -> None:
    """Everything that can be unfolded on the page."""
    page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
