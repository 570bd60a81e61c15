"""Someone in the demonstration's story: a password, a phone with an authenticator app, and a browser that shows what it
sends and gets."""

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Mapping
from typing import Any

import httpx

from deploy.demo_screen import Screen, cut

SLUG = "harbour"
_STEP_SECONDS = 30


class Unexpected(Exception):
    """The stack answered otherwise than the story goes; the text says what."""


class Person:
    """Someone with a password, a phone, and a browser that shows what it sends."""

    def __init__(self, screen: Screen, gateway: str, name: str, email: str) -> None:
        self.screen, self.name, self.email = screen, name, email
        self.password = "-".join(secrets.token_hex(2) for _ in range(4))
        self.secret = ""
        self.backup_codes: list[str] = []
        self.token: str | None = None
        self._last_step = 0
        self._http = httpx.Client(base_url=gateway, trust_env=False, timeout=15)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        expect: int,
        only: tuple[str, ...] = (),
    ) -> Any:
        """One request, shown, and its answer, shown (`only`: the members that the step is about)."""
        headers = {"Authorization": f"Bearer {cut(self.token)}"} if self.token else {}
        self.screen.sent(method, masked(path), body, headers)
        began = time.monotonic()
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}"}
        answer = self._http.request(method, path, headers=headers, json=body)
        self.screen.got(answer, time.monotonic() - began, only)
        if answer.status_code != expect:
            raise Unexpected(f"{method} {masked(path)} answered {answer.status_code}, and not {expect}.")
        return answer.json() if answer.content else None

    def activate(self, token: str) -> None:
        self.send("POST", f"/v1/activations/{token}", {"password": self.password}, expect=204)

    def sign_in(self, only: tuple[str, ...] = ("id", "state", "methods", "amr", "acr")) -> dict[str, Any]:
        self.token = None
        credentials = {"clinic": SLUG, "email": self.email, "password": self.password}
        session: dict[str, Any] = self.send("POST", "/v1/sessions", credentials, expect=201, only=("token", *only))
        self.token = session["token"]
        return session

    def prove(self, method: str, code: str) -> dict[str, Any]:
        session: dict[str, Any] = self.send(
            "POST",
            "/v1/session/second-factor",
            {"method": method, "code": code},
            expect=200,
            only=("token", "id", "state", "amr", "acr", "backup_codes_remaining"),
        )
        self.token = session["token"]
        return session

    def sign_out(self) -> None:
        self.send("DELETE", "/v1/session", expect=204)
        self.token = None

    def set_up_app(self, *, draw: bool) -> dict[str, Any]:
        """Scans the QR code, types what the app then shows."""
        told = ("enrolment_id", "secret", "otpauth_uri", "expires_at")
        enrolment = self.send("POST", "/v1/me/two-factor/totp", expect=201, only=told)
        self.secret = enrolment["secret"]
        if draw:
            self.screen.say("Any authenticator app reads this; it really is the key of this stack:")
            self.screen.qr(enrolment["otpauth_uri"])
        answer: dict[str, Any] = self.send(
            "POST",
            f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}/confirm",
            {"code": self.next_code()},
            expect=200,
            only=("two_factor", "session") if draw else ("two_factor",),
        )
        self.token = answer["session"]["token"]
        self.backup_codes = answer["backup_codes"]
        return answer

    def next_code(self) -> str:
        """What the app shows now; waits for the next code where this one was used, for each is accepted once."""
        now = time.time()
        if int(now) // _STEP_SECONDS <= self._last_step:
            left = (self._last_step + 1) * _STEP_SECONDS - now + 0.1
            self.screen.wait(left, "Each code is accepted once; the app shows the next one in")
        self._last_step = int(time.time()) // _STEP_SECONDS
        return self.code()

    def code(self) -> str:
        """The code of the step used last (RFC 6238)."""
        key = base64.b32decode(self.secret)
        digest = hmac.digest(key, struct.pack(">Q", self._last_step), hashlib.sha1)
        start = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


def masked(path: str) -> str:
    """The path without the token of an activation's link."""
    start, mark, token = path.partition("/activations/")
    return f"{start}{mark}{cut(token)}" if mark else path
