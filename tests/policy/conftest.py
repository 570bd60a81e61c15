"""The policy service alone: in-process gRPC with mutual TLS before a real PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import PolicyStub, add_PolicyServicer_to_server

from deploy.embedded import EmbeddedPostgres
from services.common.clock import FixedClock
from services.common.postgres import Database
from services.common.rpc_client import Peer
from services.common.rpc_server import RpcServer
from services.policy.app import build
from services.policy.servicer import ALLOWED
from tests.conftest import MakeCertificates, MakeDatabase

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Service:
    """The running service and what stands behind it."""

    server: RpcServer
    clock: FixedClock
    database: Database
    peer_of: Callable[[str], Peer[Any]]
    """The service as seen by the caller named."""
    owner: Callable[[], AbstractContextManager["psycopg.Connection[Any]"]]
    """A superuser's look at the database."""

    @property
    def peer(self) -> Peer[Any]:
        return self.peer_of("identity")


@pytest.fixture(scope="session")
def policy_database(database: MakeDatabase) -> tuple[str, str]:
    return database("policy")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
async def policy(
    policy_database: tuple[str, str], certificates: MakeCertificates, postgres: EmbeddedPostgres, clock: FixedClock
) -> AsyncIterator[Service]:
    async with _serving(policy_database, certificates, postgres, clock) as service:
        yield service


@pytest.fixture
async def twin(
    policy: Service,
    policy_database: tuple[str, str],
    certificates: MakeCertificates,
    postgres: EmbeddedPostgres,
    clock: FixedClock,
) -> AsyncIterator[Service]:
    """A second instance of `policy`, on the same database and clock."""
    async with _serving(policy_database, certificates, postgres, clock) as service:
        yield service


@asynccontextmanager
async def _serving(
    policy_database: tuple[str, str], certificates: MakeCertificates, postgres: EmbeddedPostgres, clock: FixedClock
) -> AsyncIterator[Service]:
    connection = Database(*policy_database)
    await connection.open()
    server = RpcServer("127.0.0.1:0", certificates("policy"), ALLOWED)
    service = policy_pb2.DESCRIPTOR.services_by_name["Policy"]
    server.register(add_PolicyServicer_to_server, build(connection, clock), service)
    server.follow(connection.ping)
    port = await server.start()
    peers: dict[str, Peer[Any]] = {}

    def peer_of(caller: str) -> Peer[Any]:
        if caller not in peers:
            peers[caller] = Peer(PolicyStub, f"127.0.0.1:{port}", "policy", certificates(caller))
        return peers[caller]

    name = policy_database[0].split("dbname=")[1].split()[0]
    yield Service(server, clock, connection, peer_of, lambda: postgres.connect(name))
    for peer in peers.values():
        await peer.close()
    await server.stop(0)
    await connection.close()
