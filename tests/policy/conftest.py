"""The policy service alone: in-process gRPC with mutual TLS before a real PostgreSQL."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import PolicyStub, add_PolicyServicer_to_server

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

    @property
    def peer(self) -> Peer[Any]:
        return self.peer_of("identity")


@pytest.fixture(scope="session")
def policy_database(database: MakeDatabase) -> tuple[str, str]:
    return database("policy")


@pytest.fixture
async def policy(policy_database: tuple[str, str], certificates: MakeCertificates) -> AsyncIterator[Service]:
    connection = Database(*policy_database)
    await connection.open()
    clock = FixedClock(NOW)
    server = RpcServer("127.0.0.1:0", certificates("policy"), ALLOWED)
    server.register(
        add_PolicyServicer_to_server, build(connection, clock), policy_pb2.DESCRIPTOR.services_by_name["Policy"]
    )
    server.follow(connection.ping)
    port = await server.start()
    peers: dict[str, Peer[Any]] = {}

    def peer_of(caller: str) -> Peer[Any]:
        if caller not in peers:
            peers[caller] = Peer(PolicyStub, f"127.0.0.1:{port}", "policy", certificates(caller))
        return peers[caller]

    yield Service(server, clock, connection, peer_of)
    for peer in peers.values():
        await peer.close()
    await server.stop(0)
    await connection.close()
