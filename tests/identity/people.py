"""Who the tests of the gateway speak of: the running stack, a clinic, and someone of its staff with their phone."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyotp
import redis as redis_client
from countersign.notifier.v1 import notifier_pb2
from fastapi import FastAPI
from psycopg.rows import dict_row

from deploy.embedded import EmbeddedPostgres
from services.common.clock import FixedClock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.sealing import Keyring
from services.identity.gateway import Gateway
from services.identity.model import ClinicId, Method, UserId
from services.identity.policy_words import RuleChange
from services.identity.settings import IdentitySettings
from services.identity.store.numbers import PhoneNumbers
from tests.otp.notifier_in_memory import NotifierInMemory

NOW = datetime(2026, 11, 16, 9, 30, 10, tzinfo=UTC)
"""Ten seconds into a step."""
PASSWORD = "tidal harbour gravel moon"
PHONE = "+447700900123"  # Ofcom's range for drama

_numbers = itertools.count(1)

Json = dict[str, Any]


class CapableNotifier(NotifierInMemory):
    """One that also says what it can send."""

    def __init__(self) -> None:
        super().__init__()
        self.can_send_sms = True
        self.is_sms_degraded = False
        self.times_asked = 0
        self.callbacks: list[tuple[dict[str, str], str, str]] = []
        self.told: list[notifier_pb2.NotifyRequest] = []
        self.takes_no_notices = False
        self.reaches: Callable[[notifier_pb2.NotifyRequest], bool] = lambda request: True

    async def GetCapabilities(self, request: Any, context: Any) -> notifier_pb2.Capabilities:  # noqa: N802
        self.times_asked += 1
        return notifier_pb2.Capabilities(sms=self.can_send_sms, sms_degraded=self.is_sms_degraded)

    async def Notify(  # noqa: N802
        self, request: notifier_pb2.NotifyRequest, context: Any
    ) -> notifier_pb2.NotifyResponse:
        if self.takes_no_notices:
            raise unavailable("database")
        if not self.reaches(request):
            raise ServiceError(ErrorCode.INVALID_REQUEST, "This cannot be reached.")
        if all(notice.request_key != request.request_key for notice in self.told):
            self.told.append(request)
        return notifier_pb2.NotifyResponse()

    async def ReceiveTwilioStatus(self, request: Any, context: Any) -> notifier_pb2.ReceiveTwilioStatusResponse:  # noqa: N802
        if request.signature != "good":
            raise ServiceError(ErrorCode.FORBIDDEN, "not signed by the provider")
        self.callbacks.append((dict(request.form), request.signature, request.query))
        return notifier_pb2.ReceiveTwilioStatusResponse()


@dataclass
class Stack:
    """The running gateway and what stands behind it."""

    settings: IdentitySettings
    gateway: Gateway
    app: FastAPI
    clock: FixedClock
    notifier: CapableNotifier
    postgres: EmbeddedPostgres
    database_name: str
    redis: redis_client.Redis
    stop_otp: Callable[[], Awaitable[None]]
    stop_policy: Callable[[], Awaitable[None]]
    another_app: Callable[..., Awaitable["Stack"]]

    def client(self, address: str = "192.0.2.7", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=(address, 40000))
        return httpx.AsyncClient(transport=transport, base_url=self.settings.public_origin, headers=headers)

    async def call(
        self, method: str, path: str, body: Any = None, token: str = "", address: str = "192.0.2.7", **headers: str
    ) -> httpx.Response:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.client(address, **headers) as client:
            return (
                await client.request(method, path, json=body)
                if body is not None
                else await client.request(method, path)
            )

    def sql(self, query: str, values: list[Any] | None = None) -> list[Json]:
        """Reads or changes the database behind the service's back."""
        with self.postgres.connect(self.database_name) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(query, values or [])
            return cursor.fetchall() if cursor.description else []

    def sealed(self, user_id: str, phone: str | None) -> bytes | None:
        """A number as the database holds it."""
        return PhoneNumbers(Keyring.load(self.settings.keyring_file)).seal(UserId(user_id), phone)

    def events(self, user_id: str) -> list[str]:
        rows = self.sql("SELECT kind FROM audit_event WHERE subject_id = %s ORDER BY seq", [user_id])
        return [row["kind"] for row in rows]

    async def make_clinic(self) -> "SomeClinic":
        number = next(_numbers)
        clinic = SomeClinic(self, f"cli_{number}", f"harbour-{number}")
        self.sql(
            "INSERT INTO clinic VALUES (%s, %s, 'Harbour Clinic', 'Europe/London', 'GB', 'en-GB', %s)",
            [clinic.id, clinic.slug, NOW],
        )
        await self.gateway.policy.create_rule(ClinicId(clinic.id), [Method.TOTP, Method.SMS], "GB")
        return clinic


@dataclass
class SomeClinic:
    stack: Stack
    id: str
    slug: str

    async def person(
        self, role: str = "practitioner", password: str | None = PASSWORD, phone: str | None = None
    ) -> "Person":
        number = next(_numbers)
        person = Person(self, f"usr_{number}", f"person{number}@harbour.example")
        stored = await self.stack.gateway.activations._passwords.hash(password) if password else None
        self.stack.sql(
            "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, phone, password_hash, created_at)"
            " VALUES (%s, %s, %s, %s, 'Mina Okafor', %s, %s, %s, %s)",
            [person.id, self.id, person.email, person.email, role, self.stack.sealed(person.id, phone), stored, NOW],
        )
        return person

    async def require(self, **change: Any) -> None:
        """Changes the clinic's rule behind the gateway's back, as another replica would."""
        change.setdefault("require_two_factor", True)
        await self.stack.gateway.policy.change_rule(
            ClinicId(self.id), RuleChange(**change), actor_kind="operator", actor_id=None, address=""
        )

    async def require_here(self, **change: Any) -> None:
        """The same as a change made on this replica."""
        await self.require(**change)
        self.stack.gateway.standings.forget_clinic(ClinicId(self.id))


@dataclass
class Person:
    """A member of staff; holds the secret that their phone would, and the token of their newest session."""

    clinic: SomeClinic
    id: str
    email: str
    secret: str = ""
    backup_codes: list[str] = field(default_factory=list)
    token: str = ""

    @property
    def stack(self) -> Stack:
        return self.clinic.stack

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.stack.call(method, path, body, token=self.token, **headers)

    async def try_sign_in(self, password: str = PASSWORD, address: str = "192.0.2.7", **more: Any) -> httpx.Response:
        body = {"clinic": self.clinic.slug, "email": self.email, "password": password, **more}
        return await self.stack.call("POST", "/v1/sessions", body, address=address)

    async def sign_in(self, **more: Any) -> Json:
        response = await self.try_sign_in(**more)
        assert response.status_code == 201, response.text
        body: Json = response.json()
        self.token = body["token"]
        return body

    def code(self, steps: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(self.stack.clock.now(), counter_offset=steps)

    def wrong_code(self) -> str:
        right = {self.code(steps) for steps in range(-3, 4)} if self.secret else set()
        return next(f"{number:06d}" for number in itertools.count() if f"{number:06d}" not in right)

    async def prove(self, code: str | None = None, method: str = "totp", token: str = "") -> httpx.Response:
        body = {"method": method, "code": code if code is not None else self.code()}
        return await self.stack.call("POST", "/v1/session/second-factor", body, token=token or self.token)

    async def prove_raw(self, body: Json) -> httpx.Response:
        return await self.call("POST", "/v1/session/second-factor", body)

    async def enrol_totp(self) -> Json:
        """From a session that may; the clock moves on by a minute, so that the next code is a fresh one."""
        started = await self.call("POST", "/v1/me/two-factor/totp")
        assert started.status_code == 201, started.text
        self.secret = started.json()["secret"]
        path = f"/v1/me/two-factor/totp/{started.json()['enrolment_id']}/confirm"
        confirmed = await self.call("POST", path, {"code": self.code()})
        assert confirmed.status_code == 200, confirmed.text
        body: Json = confirmed.json()
        self.token = body["session"]["token"]
        self.backup_codes = body.get("backup_codes", self.backup_codes)
        self.stack.clock.advance(timedelta(minutes=1))
        return body

    async def sign_in_in_full(self) -> Json:
        """Password and code; the clock moves on by half a minute."""
        await self.sign_in()
        response = await self.prove()
        assert response.status_code == 200, response.text
        body: Json = response.json()
        self.token = body["token"]
        self.stack.clock.advance(timedelta(seconds=30))
        return body

    async def state(self) -> str:
        response = await self.call("GET", "/v1/session")
        assert response.status_code == 200, response.text
        return str(response.json()["state"])


def slug_of(response: httpx.Response) -> str:
    """The kind of a problem; everything else fails the test."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    return str(body["type"].removeprefix("urn:countersign:problem:"))
