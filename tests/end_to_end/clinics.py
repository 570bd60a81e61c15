"""Clinics and their people, made by the command and the API as an operator and an administrator would."""

import itertools
import secrets
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.end_to_end.client import Client, Person, new_number, ok
from tests.end_to_end.stack import Stack


class Clinic:
    """One clinic, its administrator signed in with the password they chose, and the making of its people."""

    def __init__(self, stack: Stack, made: dict[str, Any], slug: str, name: str, admin_email: str) -> None:
        self.stack, self.slug, self.name, self.made = stack, slug, name, made
        self.id: str = made["clinic_id"]
        self.admin = Person(slug, admin_email, "Ada Admin", "admin", made["user_id"])
        self.desk = stack.client(new_address())
        ok(self.desk.post(f"/v1/activations/{made['activation_token']}", {"password": self.admin.password}), 204)
        self.desk.sign_in(self.admin)

    def invite(self, role: str = "practitioner", **more: Any) -> tuple[Person, dict[str, Any]]:
        """Someone new, not activated yet, and their activation."""
        email = f"{role}-{secrets.token_hex(5)}@{self.slug}.example"
        name = f"{role.title()} {secrets.token_hex(2)}"
        answer = ok(self.desk.post("/v1/users", {"email": email, "name": name, "role": role, **more}), 201)
        person = Person(self.slug, email, name, role, answer["user"]["id"], phone=more.get("phone", ""))
        return person, answer["activation"]

    def person(self, role: str = "practitioner", **more: Any) -> Person:
        """Someone who can sign in with a password."""
        person, activation = self.invite(role, **more)
        newcomer = self.stack.client(new_address())
        ok(newcomer.post(f"/v1/activations/{activation['token']}", {"password": person.password}), 204)
        return person

    def client(self) -> Client:
        """A client app at an address of its own."""
        return self.stack.client(new_address())

    def member(self, role: str = "practitioner", **more: Any) -> tuple[Person, Client]:
        """Someone new with a browser signed in by password."""
        person, client = self.person(role, **more), self.client()
        client.sign_in(person)
        return person, client

    def enrolled(self, role: str = "practitioner", **more: Any) -> tuple[Person, Client]:
        """Someone new who has just set an authenticator app up, in a session that counts as proven."""
        person, client = self.member(role, **more)
        client.enrol_totp(person)
        return person, client

    def enrolled_by_sms(self) -> tuple[Person, Client]:
        """Someone new whose only factor is a text message."""
        person, client = self.member()
        person.phone = new_number()
        enrolment = ok(client.post("/v1/me/two-factor/sms", {"phone": person.phone}), 202)
        answer = ok(
            client.post(
                f"/v1/me/two-factor/sms/{enrolment['enrolment_id']}/confirm", {"code": self.texted(person.phone)}
            )
        )
        client.token = answer["session"]["token"]
        person.backup_codes = answer["backup_codes"]
        return person, client

    def texted(self, number: str, seen: int = 0) -> str:
        """The code in the newest message to this number."""
        return code_in(self.stack.text(number, seen))

    def require(self, **change: Any) -> dict[str, Any]:
        """Changes the clinic's rule as its administrator, who sets up a factor of their own first where needed."""
        if self.admin.authenticator is None:
            self.desk.enrol_totp(self.admin)
        answer: dict[str, Any] = ok(self.desk.patch("/v1/clinic/security", change))
        return answer


def code_in(text: str) -> str:
    codes = [
        word.strip(".,:;") for word in text.split() if word.strip(".,:;").isdigit() and len(word.strip(".,:;")) == 6
    ]
    assert len(codes) == 1, f"one code in {text!r}"
    return codes[0]


_addresses = itertools.count(secrets.randbelow(60_000))


def new_address() -> str:
    """An address of the range kept for benchmarks (RFC 2544), each in a /24 of its own where there is room."""
    number = next(_addresses)
    return f"198.{18 + number // 256 % 2}.{number % 256}.{number // 512 % 250 + 1}"


class ClinicMaker:
    """Makes clinics a little ahead of need: the command starts a Python each time, which costs a second."""

    def __init__(self, stack: Stack, ahead: int = 2) -> None:
        self._stack = stack
        self._pool = ThreadPoolExecutor(1)
        self._ready: deque[Future[Clinic]] = deque()
        self._lock = threading.Lock()
        for _ in range(ahead):
            self._ready.append(self._pool.submit(self._make))

    def take(self) -> Clinic:
        with self._lock:
            self._ready.append(self._pool.submit(self._make))
            made = self._ready.popleft()
            try:
                return made.result(60)
            except Exception:  # a fault of an earlier test met it in the making
                return self._pool.submit(self._make).result(60)

    def settle(self) -> None:
        """Waits until none is being made, so that a fault does not hit the making of one."""
        for future in list(self._ready):
            future.result(60)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _make(self) -> Clinic:
        slug = f"harbour-{secrets.token_hex(4)}"
        email = f"ada@{slug}.example"
        made = self._stack.create_clinic(slug, "Harbour Clinic", email)
        return Clinic(self._stack, made, slug, "Harbour Clinic", email)
