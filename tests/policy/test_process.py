"""The policy service as its own process: its commands, and its health before a database that goes and comes back."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import PolicyStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.databases import Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres, free_port
from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from tests.conftest import MakeCertificates

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
ROOT = Path(__file__).parents[2]
MIGRATIONS = ", ".join(sorted(file.name for file in (ROOT / "services" / "policy" / "migrations").glob("*.sql")))


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server to be killed, with the policy service's roles and its database, still empty."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own") / "data", "superuser-password")
    server.start()
    with server.connect("postgres") as connection:
        prepare_service(connection, "policy", "policy", Passwords("app-password", "owner-password", "sealer-password"))
    yield server
    server.stop()


def run(arguments: list[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "services.policy", *arguments]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}", "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        command, env={**paths, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def owner(server: EmbeddedPostgres) -> dict[str, str]:
    return {
        "POLICY_OWNER_DATABASE_URL": server.url("policy", "policy_owner"),
        "POLICY_OWNER_DATABASE_PASSWORD": "owner-password",
    }


async def test_p19_the_service_starts_serves_follows_its_database_and_drains(
    own_postgres: EmbeddedPostgres, certificates: MakeCertificates
) -> None:
    migration = run(["migrate"], owner(own_postgres))
    assert (migration.communicate(timeout=30)[0], migration.returncode) == (f"policy: {MIGRATIONS}\n", 0)
    port = free_port()
    service = run(
        ["serve"],
        {
            "POLICY_LISTEN": f"127.0.0.1:{port}",
            "POLICY_TLS_DIR": str(certificates("policy")),
            "POLICY_DATABASE_URL": own_postgres.url("policy", "policy"),
            "POLICY_DATABASE_PASSWORD": "app-password",
            "POLICY_SEALER_DATABASE_URL": own_postgres.url("policy", "policy_sealer"),
            "POLICY_SEALER_DATABASE_PASSWORD": "sealer-password",
        },
    )
    identity = certificates("identity")
    health: Peer[Any] = Peer(health_pb2_grpc.HealthStub, f"127.0.0.1:{port}", "policy", identity)
    policy: Peer[Any] = Peer(PolicyStub, f"127.0.0.1:{port}", "policy", identity)
    new = policy_pb2.CreateRuleRequest(clinic_id="cli_1", methods=[policy_pb2.METHOD_TOTP], country="GB")
    try:
        await _becomes(health, SERVING, 15)
        made = await policy.call(policy.stub.CreateRule, new)
        own_postgres.kill()
        await _becomes(health, NOT_SERVING, 6)
        with pytest.raises(ServiceError) as refused:
            await policy.call(policy.stub.Decide, _one_subject(), 2.5)
        assert (refused.value.code, refused.value.members["away"]) == (ErrorCode.UNAVAILABLE, "database")
        own_postgres.start()
        await _becomes(health, SERVING, 15)
        assert await policy.call(policy.stub.CreateRule, new) == made
        assert len((await policy.call(policy.stub.Decide, _one_subject())).decisions) == 1
    finally:
        service.send_signal(signal.SIGTERM)
        _, told = service.communicate(timeout=15)
        await health.close()
        await policy.close()
    assert service.returncode == 0
    assert '"event": "draining"' in told
    assert "password" not in told


def test_migrating_twice_does_nothing_the_second_time(own_postgres: EmbeddedPostgres) -> None:
    told = [run(["migrate"], owner(own_postgres)).communicate(timeout=30) for _ in range(2)]
    assert told == [(f"policy: {MIGRATIONS}\n", ""), ("policy: nothing to do\n", "")]


def test_a_service_that_is_told_nothing_says_all_that_is_missing() -> None:
    service = run(["serve"], {})
    _, told = service.communicate(timeout=30)
    assert service.returncode == 1
    assert "POLICY_DATABASE_PASSWORD: Field required" in told
    assert "POLICY_TLS_DIR: Field required" in told
    assert "Traceback" not in told


def _one_subject() -> policy_pb2.DecideRequest:
    return policy_pb2.DecideRequest(subjects=[policy_pb2.Subject(clinic_id="cli_1", user_id="usr_1")])


async def _becomes(health: Peer[Any], wanted: int, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                answer = await health.call(health.stub.Check, health_pb2.HealthCheckRequest(), 1.0)
                if answer.status == wanted:
                    return
            except ServiceError:
                pass
            await asyncio.sleep(0.1)
