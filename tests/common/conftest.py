"""What the tests of the common pieces share: a tiny gRPC service that belongs to nobody, with mutual TLS, and a sealed
audit trail."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2

from deploy.embedded import EmbeddedPostgres
from services.common.audit_sealer import Sealer
from services.common.clock import FixedClock
from services.common.postgres import Database
from services.common.rpc_client import Peer
from services.common.rpc_server import Allowed, RpcServer
from tests.common.trail import NOW, SERVICE, Trail
from tests.conftest import MakeCertificates, MakeDatabase, sealer_of

SAY = "/countersign.echo.v1.Echo/Say"
ONLY_IDENTITY: Allowed = {SAY: frozenset({"identity"})}
Answer = Callable[[str], Awaitable[str]]


def echo_descriptor(*, streaming: bool = False) -> Any:
    """Echo/Say(StringValue) → StringValue, described without a .proto file."""
    suffix = "Streaming" if streaming else ""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"echo{suffix}.proto",
        package="countersign.echo.v1",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    file.service.add(name=f"Echo{suffix}").method.add(
        name="Say",
        input_type=".google.protobuf.StringValue",
        output_type=".google.protobuf.StringValue",
        server_streaming=streaming,
    )
    return descriptor_pool.Default().AddSerializedFile(file.SerializeToString()).services_by_name[f"Echo{suffix}"]


class EchoStub:
    def __init__(self, channel: Any) -> None:
        self.Say = channel.unary_unary(
            SAY,
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.StringValue.FromString,
        )


class Echo:
    """Answers with what `answer` makes of the request; a test may put another in its place."""

    def __init__(self) -> None:
        self.answer: Answer = self._again
        self.heard: list[str] = []

    async def _again(self, text: str) -> str:
        return text

    async def say(self, request: wrappers_pb2.StringValue, context: Any) -> wrappers_pb2.StringValue:
        self.heard.append(request.value)
        return wrappers_pb2.StringValue(value=await self.answer(request.value))


def add_echo(echo: Echo, server: Any) -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        echo.say,
        request_deserializer=wrappers_pb2.StringValue.FromString,
        response_serializer=wrappers_pb2.StringValue.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("countersign.echo.v1.Echo", {"Say": handler}),)
    )


class EchoService:
    """A running echo, and how to reach it as whom."""

    def __init__(self, server: RpcServer, echo: Echo, tls_dir: Path, certificates: MakeCertificates) -> None:
        self.server = server
        self.echo = echo
        self.tls_dir = tls_dir
        self._certificates = certificates
        self._peers: list[Peer[Any]] = []

    def peer(self, caller: str = "identity", tls_dir: Path | None = None, name: str = "echo") -> Peer[Any]:
        target = f"127.0.0.1:{self.server.port}"
        peer: Peer[Any] = Peer(EchoStub, target, name, tls_dir or self._certificates(caller))
        self._peers.append(peer)
        return peer

    async def say(self, text: str, peer: Peer[Any] | None = None, seconds: float = 2.0, **options: Any) -> str:
        peer = peer or self.peer()
        answer = await peer.call(peer.stub.Say, wrappers_pb2.StringValue(value=text), seconds, **options)
        return str(answer.value)

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()


StartEcho = Callable[..., Awaitable[EchoService]]


@pytest.fixture
async def start_echo(certificates: MakeCertificates) -> AsyncIterator[StartEcho]:
    async with AsyncExitStack() as stack:

        async def start(listen: str = "127.0.0.1:0", tls_dir: Path | None = None) -> EchoService:
            tls_dir = tls_dir or certificates("echo")
            server = RpcServer(listen, tls_dir, ONLY_IDENTITY)
            echo = Echo()
            server.register(add_echo, echo, ECHO)
            await server.start()
            service = EchoService(server, echo, tls_dir, certificates)
            stack.push_async_callback(server.stop, 0)
            stack.push_async_callback(service.close)
            return service

        yield start


@pytest.fixture
async def echo(start_echo: StartEcho) -> EchoService:
    return await start_echo()


ECHO = echo_descriptor()
ECHO_STREAMING = echo_descriptor(streaming=True)


@pytest.fixture
async def trail(database: MakeDatabase, postgres: EmbeddedPostgres) -> AsyncIterator[Trail]:
    url, password = database(SERVICE)
    application, clock = Database(url, password), FixedClock(NOW)
    await application.open()
    opened = [application]

    async def new_sealer() -> Sealer:
        role = Database(*sealer_of(SERVICE, url), 1)
        await role.open()
        opened.append(role)
        return Sealer(role, clock)

    yield Trail(postgres, url, password, application, clock, new_sealer, await new_sealer())
    for one in opened:
        await one.close()


@pytest.fixture
async def sealed(trail: Trail) -> Trail:
    """Twelve events with seals, seq and position 1 to 12."""
    for number in range(4):
        await trail.write(3, number=number)
        await trail.sealer.seal()
        trail.clock.advance(timedelta(seconds=1))
    return trail
