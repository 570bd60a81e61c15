"""The gateway before real otp and policy services, a real PostgreSQL and a real Redis, all under one clock that stands
still; only the notifier is one in memory. Requests go through the whole ASGI app."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_client
from countersign.notifier.v1 import notifier_pb2
from countersign.notifier.v1.notifier_pb2_grpc import add_NotifierServicer_to_server
from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import add_PolicyServicer_to_server
from pydantic import SecretStr

from deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from services.common import rate_limit
from services.common.audit_servicer import AUDIT_ALLOWED, serve_audit
from services.common.clock import FixedClock
from services.common.outbox_servicer import OUTBOX_ALLOWED, serve_outbox
from services.common.postgres import Database
from services.common.rpc_server import RpcServer
from services.identity.app import create_app
from services.identity.assembly import wire
from services.identity.gateway import Gateway
from services.identity.peers import audit as audit_peer
from services.identity.peers import otp as otp_peer
from services.identity.peers import outbox as outbox_peer
from services.identity.peers import policy as policy_peer
from services.identity.peers import policy_bypass as policy_bypass_peer
from services.identity.peers import policy_settings as policy_settings_peer
from services.identity.settings import IdentitySettings
from services.otp import backup_codes
from services.otp.app import OtpService
from services.otp.settings import OtpSettings
from services.policy import servicer as policy_servicer
from services.policy.app import build as build_policy
from tests.conftest import MakeCertificates, MakeDatabase, sealer_of
from tests.identity.people import NOW, CapableNotifier, Person, SomeClinic, Stack

KEYRING = {"active": 1, "keys": {"1": "a2V5LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="}}


@pytest.fixture(scope="session")
def identity_databases(database: MakeDatabase) -> dict[str, tuple[str, str]]:
    return {service: database(service) for service in ("identity", "otp", "policy", "notifier")}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a busy machine meets, and backup codes at a cost that only a test can set: ten are hashed for each
    factor that is set up. At their full cost they are hashed in tests/otp and tests/end_to_end."""
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)
    for module in (audit_peer, otp_peer, outbox_peer, policy_peer, policy_bypass_peer, policy_settings_peer):
        for name in ("_SECONDS", "_VERIFY_SECONDS", "_CODES_SECONDS"):
            monkeypatch.setattr(module, name, 20.0, raising=False)
    monkeypatch.setattr(rate_limit, "_WAIT_SECONDS", 5.0)


@pytest.fixture
async def stack(
    patient: None,
    identity_databases: dict[str, tuple[str, str]],
    postgres: EmbeddedPostgres,
    redis: EmbeddedRedis,
    redis_password: str,
    certificates: MakeCertificates,
    tmp_path: Path,
) -> AsyncIterator[Stack]:
    clock = FixedClock(NOW)
    limits = redis_client.Redis.from_url(redis.url, password=redis_password)
    limits.flushall()

    def now_ms() -> int:
        return int(clock.now().timestamp() * 1000)

    notifier = CapableNotifier()
    allowed = {
        f"/countersign.notifier.v1.Notifier/{method}": frozenset({"otp", "identity"})
        for method in ("Submit", "GetDelivery", "GetCapabilities", "Notify", "ReceiveTwilioStatus")
    }
    notifier_database = Database(*identity_databases["notifier"])
    await notifier_database.open()
    notifier_server = RpcServer("127.0.0.1:0", certificates("notifier"), {**allowed, **AUDIT_ALLOWED})
    serve_audit(notifier_server, notifier_database)
    notifier_service = notifier_pb2.DESCRIPTOR.services_by_name["Notifier"]
    notifier_server.register(add_NotifierServicer_to_server, notifier, notifier_service)
    notifier_port = await notifier_server.start()

    keyring = tmp_path / "keyring.json"
    keyring.write_text(json.dumps(KEYRING))
    url, password = identity_databases["otp"]
    otp = OtpService(
        OtpSettings(
            listen="127.0.0.1:0",
            tls_dir=certificates("otp"),
            database_url=url,
            database_password=SecretStr(password),
            sealer_database_url=sealer_of("otp", url)[0],
            sealer_database_password=SecretStr(sealer_of("otp")[1]),
            redis_url=redis.url,
            redis_password=SecretStr(redis_password),
            limits_pepper=SecretStr("a pepper for limits in tests"),
            keyring_file=keyring,
            code_pepper=SecretStr("a pepper for codes in tests"),
            notifier_target=f"127.0.0.1:{notifier_port}",
        ),
        clock,
        now_ms,
    )
    with postgres.connect(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])) as connection:
        connection.execute("DELETE FROM number_mark")  # one number serves many tests, and at most three accounts
    otp_port = await otp.start()

    policy_database = Database(*identity_databases["policy"])
    await policy_database.open()
    policy_server = RpcServer(
        "127.0.0.1:0", certificates("policy"), {**policy_servicer.ALLOWED, **AUDIT_ALLOWED, **OUTBOX_ALLOWED}
    )
    serve_audit(policy_server, policy_database)
    serve_outbox(policy_server, policy_database)
    decider = build_policy(policy_database, clock)
    policy_server.register(add_PolicyServicer_to_server, decider, policy_pb2.DESCRIPTOR.services_by_name["Policy"])
    policy_port = await policy_server.start()

    url, password = identity_databases["identity"]
    settings = IdentitySettings(
        tls_dir=certificates("identity"),
        database_url=url,
        database_password=SecretStr(password),
        sealer_database_url=sealer_of("identity", url)[0],
        sealer_database_password=SecretStr(sealer_of("identity")[1]),
        otp_target=f"127.0.0.1:{otp_port}",
        policy_target=f"127.0.0.1:{policy_port}",
        notifier_target=f"127.0.0.1:{notifier_port}",
        redis_url=redis.url,
        redis_password=SecretStr(redis_password),
        limits_pepper=SecretStr("a pepper for limits, used in tests"),
        password_pepper=SecretStr("a pepper for passwords, used in tests"),
        csrf_key=SecretStr("a key for CSRF tokens that tests use"),
        keyring_file=keyring,
        allowed_origins="https://app.harbour.example",
        trusted_proxies="192.0.2.200",
        argon2_memory_kib=64,
        allow_cheap_password_hash_for_tests=True,
    )
    gateways: list[Gateway] = []

    async def make(**changes: Any) -> Stack:
        own = settings.model_copy(update=changes)
        gateway = wire(own, clock, limiter_now_ms=now_ms)
        await gateway.open()
        gateways.append(gateway)
        return Stack(
            own,
            gateway,
            create_app(gateway),
            clock,
            notifier,
            postgres,
            str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]),
            limits,
            lambda: otp.server.stop(0),
            lambda: policy_server.stop(0),
            make,
        )

    yield await make()
    closing = {
        **{f"gateway {number}": gateway.close for number, gateway in enumerate(gateways)},
        "otp server": lambda: otp.server.stop(0),
        "otp": otp.close,
        "policy server": lambda: policy_server.stop(0),
        "policy database": policy_database.close,
        "notifier server": lambda: notifier_server.stop(0),
        "notifier database": notifier_database.close,
    }
    for name, close in closing.items():
        try:
            async with asyncio.timeout(20):
                await close()
        except TimeoutError:
            for task in asyncio.all_tasks():
                task.print_stack()
            raise RuntimeError(f"{name} did not close") from None
    limits.close()


@pytest.fixture
async def clinic(stack: Stack) -> SomeClinic:
    return await stack.make_clinic()


@pytest.fixture
async def person(clinic: SomeClinic) -> Person:
    return await clinic.person()


@pytest.fixture
async def admin(clinic: SomeClinic) -> Person:
    """An administrator with a factor, proven just now."""
    admin = await clinic.person("admin")
    await admin.sign_in()
    await admin.enrol_totp()
    return admin
