"""The otp service alone: gRPC with mutual TLS before a real PostgreSQL and Redis; the notifier is one in memory."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyotp
import pytest
import redis as redis_client
from countersign.notifier.v1 import notifier_pb2
from countersign.notifier.v1.notifier_pb2_grpc import add_NotifierServicer_to_server
from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import OtpStub
from psycopg.rows import dict_row
from pydantic import SecretStr

from deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from services.common import rate_limit
from services.common.clock import FixedClock
from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.common.rpc_server import RpcServer
from services.otp.app import OtpService
from services.otp.settings import OtpSettings
from tests.conftest import MakeCertificates, MakeDatabase, sealer_of
from tests.otp.notifier_in_memory import NotifierInMemory

NOW = datetime(2026, 11, 16, 9, 30, 10, tzinfo=UTC)
"""Ten seconds into a step."""
PHONE = "+447700900123"  # Ofcom's range for drama
CLINIC = "cli_harbour"
KEYRING = {"active": 1, "keys": {"1": "a2V5LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="}}
CODE_PEPPER = "a pepper for codes in tests"

_METHODS = {"totp": otp_pb2.METHOD_TOTP, "sms": otp_pb2.METHOD_SMS, "backup_code": otp_pb2.METHOD_BACKUP_CODE}
_numbers = itertools.count(1)

NOTIFIER_ALLOWED = {
    f"/countersign.notifier.v1.Notifier/{method}": frozenset({"otp", "identity"})
    for method in ("Submit", "GetDelivery", "GetCapabilities", "Notify", "ReceiveTwilioStatus")
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may answer late; no test here is about how long the limits' store is waited for."""
    monkeypatch.setattr(rate_limit, "_WAIT_SECONDS", 5.0)


def fresh(prefix: str) -> str:
    return f"{prefix}_{next(_numbers)}"


def result(verdict: otp_pb2.Verdict) -> str:
    return otp_pb2.Verdict.Result.Name(verdict.result).removeprefix("RESULT_").lower()


@dataclass
class Otp:
    """The running service, and what a test reaches for."""

    service: OtpService
    settings: OtpSettings
    clock: FixedClock
    notifier: NotifierInMemory
    peer: Peer[Any]
    peer_of: Callable[[str, int], Peer[Any]]
    postgres: EmbeddedPostgres
    database_name: str
    another: Callable[[], Awaitable[OtpService]]
    """Starts one more instance on the same database."""

    async def call(self, method: str, request: Any, seconds: float = 10.0) -> Any:
        return await self.peer.call(getattr(self.peer.stub, method), request, seconds=seconds)

    def sql(self, query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        """Reads or changes the database behind the service's back."""
        with self.postgres.connect(self.database_name) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(query, values or [])
            return cursor.fetchall() if cursor.description else []

    def events(self, user_id: str) -> list[str]:
        rows = self.sql("SELECT kind FROM audit_event WHERE subject_id = %s ORDER BY seq", [user_id])
        return [row["kind"] for row in rows]

    def user(self) -> "Person":
        return Person(self, fresh("usr"))


@dataclass
class Person:
    """A user as identity speaks of them; each holds the secret that their phone would."""

    otp: Otp
    user_id: str
    session_id: str = field(default_factory=lambda: fresh("ses"))
    secret: str = ""
    backup_codes: list[str] = field(default_factory=list)

    def caller(self, session_id: str = "", address: str = "192.0.2.7") -> otp_pb2.Caller:
        return otp_pb2.Caller(
            clinic_id=CLINIC, user_id=self.user_id, session_id=session_id or self.session_id, address=address
        )

    def code(self, steps: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(self.otp.clock.now(), counter_offset=steps)

    def wrong_code(self) -> str:
        right = {self.code(steps) for steps in range(-3, 4)}
        return next(f"{number:06d}" for number in itertools.count() if f"{number:06d}" not in right)

    def attempt(
        self, code: str, method: str = "totp", login: str = "", attempt: str = "", user_id: str = ""
    ) -> otp_pb2.Attempt:
        caller = self.caller()
        if user_id:
            caller.user_id = user_id
        return otp_pb2.Attempt(
            attempt_id=attempt or fresh("att"),
            login_id=login or fresh("log"),
            caller=caller,
            method=_METHODS[method],
            code=code,
        )

    async def verify(self, code: str, method: str = "totp", login: str = "", attempt: str = "") -> otp_pb2.Verdict:
        request = otp_pb2.VerifyRequest(attempts=[self.attempt(code, method, login, attempt)])
        return (await self.otp.call("Verify", request)).verdicts[0]

    async def sees(self, code: str, method: str = "totp", login: str = "", attempt: str = "") -> str:
        """The result alone."""
        return result(await self.verify(code, method, login, attempt))

    async def insists(
        self, code: str, method: str = "totp", login: str = "", peer: "Peer[Any] | None" = None, address: str = ""
    ) -> str:
        """The result of one attempt, repeated for as long as the account is too busy to answer."""
        request = otp_pb2.VerifyRequest(attempts=[self.attempt(code, method, login)])
        request.attempts[0].caller.address = address or "192.0.2.7"
        peer = peer or self.otp.peer
        for _ in range(100):
            try:
                return result((await peer.call(peer.stub.Verify, request, seconds=20.0)).verdicts[0])
            except ServiceError as error:
                if error.code is not ErrorCode.UNAVAILABLE:
                    raise
        raise AssertionError("never answered")

    async def start_totp(self, session_id: str = "", label: str = "Harbour Clinic: anna@harbour.example") -> Any:
        request = otp_pb2.StartTotpEnrolmentRequest(caller=self.caller(session_id), account_label=label)
        return await self.otp.call("StartTotpEnrolment", request)

    async def start_sms(self, phone: str = PHONE, request_id: str = "", purpose: str = "enrolment") -> Any:
        request = otp_pb2.StartSmsEnrolmentRequest(
            caller=self.caller(),
            request_id=request_id or fresh("req"),
            phone=phone,
            locale="en",
            purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF if purpose == "phone_proof" else otp_pb2.SMS_PURPOSE_ENROLMENT,
        )
        return await self.otp.call("StartSmsEnrolment", request)

    async def confirm(
        self,
        enrolment_id: str,
        code: str,
        method: str = "totp",
        login: str = "",
        attempt: str = "",
        purpose: str = "enrolment",
        allowed: tuple[str, ...] = (),
        replace_all: bool = False,
        only_repeat: bool = False,
    ) -> Any:
        request = otp_pb2.ConfirmEnrolmentRequest(
            attempt_id=attempt or fresh("att"),
            login_id=login or fresh("log"),
            caller=self.caller(),
            method=_METHODS[method],
            enrolment_id=enrolment_id,
            code=code,
            purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF if purpose == "phone_proof" else otp_pb2.SMS_PURPOSE_ENROLMENT,
            methods_allowed=[_METHODS[name] for name in allowed],
            replace_all=replace_all,
            only_repeat=only_repeat,
        )
        return await self.otp.call("ConfirmEnrolment", request)

    async def enrol_totp(self) -> "Person":
        """Confirmed with the code of two minutes ago's clock, so that the codes of now are all unspent."""
        self.otp.clock.advance(timedelta(minutes=-2))
        offer = await self.start_totp()
        self.secret = offer.secret
        answer = await self.confirm(offer.enrolment_id, self.code())
        assert result(answer.verdict) == "accepted"
        self.backup_codes = list(answer.backup_codes.codes) or self.backup_codes
        self.otp.clock.advance(timedelta(minutes=2))
        return self

    async def enrol_sms(self, phone: str = PHONE) -> "Person":
        offer = await self.start_sms(phone)
        answer = await self.confirm(offer.enrolment_id, self.otp.notifier.code_to(phone), "sms")
        assert result(answer.verdict) == "accepted"
        self.backup_codes = list(answer.backup_codes.codes) or self.backup_codes
        self.otp.clock.advance(timedelta(minutes=1))
        return self

    async def send_sms(self, login: str, request_id: str = "", address: str = "192.0.2.7") -> Any:
        request = otp_pb2.SendSmsCodeRequest(
            request_id=request_id or fresh("req"), login_id=login, caller=self.caller(address=address), locale="en"
        )
        return await self.otp.call("SendSmsCode", request)

    async def factors(self) -> Any:
        answer = await self.otp.call("GetFactors", otp_pb2.GetFactorsRequest(user_ids=[self.user_id]))
        return answer.users[0]

    async def remove(self, method: str) -> Any:
        request = otp_pb2.RemoveFactorRequest(caller=self.caller(), method=_METHODS[method])
        return await self.otp.call("RemoveFactor", request)

    async def regenerate(self) -> list[str]:
        request = otp_pb2.RegenerateBackupCodesRequest(caller=self.caller())
        return list((await self.otp.call("RegenerateBackupCodes", request)).codes)

    async def spend_budget(self, count: int = 5) -> None:
        for _ in range(count):
            assert await self.sees(self.wrong_code()) == "wrong"


@pytest.fixture(scope="session")
def otp_database(database: MakeDatabase) -> tuple[str, str]:
    return database("otp")


@pytest.fixture
def clean_redis(redis: EmbeddedRedis, redis_password: str) -> redis_client.Redis:
    client = redis_client.Redis.from_url(redis.url, password=redis_password)
    client.flushall()
    return client


@pytest.fixture
def keyring_file(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    path.write_text(json.dumps(KEYRING))
    return path


@pytest.fixture
async def notifier(certificates: MakeCertificates) -> AsyncIterator[tuple[NotifierInMemory, int]]:
    servicer = NotifierInMemory()
    server = RpcServer("127.0.0.1:0", certificates("notifier"), NOTIFIER_ALLOWED)
    server.register(add_NotifierServicer_to_server, servicer, notifier_pb2.DESCRIPTOR.services_by_name["Notifier"])
    yield servicer, await server.start()
    await server.stop(0)


@pytest.fixture
async def otp(
    otp_database: tuple[str, str],
    postgres: EmbeddedPostgres,
    clean_redis: redis_client.Redis,
    redis: EmbeddedRedis,
    redis_password: str,
    keyring_file: Path,
    notifier: tuple[NotifierInMemory, int],
    certificates: MakeCertificates,
) -> AsyncIterator[Otp]:
    url, password = otp_database
    settings = OtpSettings(
        listen="127.0.0.1:0",
        tls_dir=certificates("otp"),
        database_url=url,
        database_password=SecretStr(password),
        sealer_database_url=sealer_of("otp", url)[0],
        sealer_database_password=SecretStr(sealer_of("otp")[1]),
        redis_url=redis.url,
        redis_password=SecretStr(redis_password),
        limits_pepper=SecretStr("a pepper for limits in tests"),
        keyring_file=keyring_file,
        code_pepper=SecretStr(CODE_PEPPER),
        notifier_target=f"127.0.0.1:{notifier[1]}",
    )
    clock = FixedClock(NOW)
    started: list[OtpService] = []
    peers: list[Peer[Any]] = []

    async def another() -> OtpService:
        service = OtpService(settings, clock, lambda: int(clock.now().timestamp() * 1000))
        await service.start()
        started.append(service)
        return service

    def peer_of(caller: str, port: int) -> Peer[Any]:
        peer: Peer[Any] = Peer(OtpStub, f"127.0.0.1:{port}", "otp", certificates(caller))
        peers.append(peer)
        return peer

    service = await another()
    database_name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with postgres.connect(database_name) as connection:
        connection.execute("DELETE FROM number_mark")  # one number serves many tests, and at most three accounts
    yield Otp(
        service=service,
        settings=settings,
        clock=clock,
        notifier=notifier[0],
        peer=peer_of("identity", service.server.port),
        peer_of=peer_of,
        postgres=postgres,
        database_name=database_name,
        another=another,
    )
    for peer in peers:
        await peer.close()
    for one in started:
        await one.server.stop(0)
        await one.close()
