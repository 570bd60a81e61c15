"""Calls between services: who may call, what may come out, how long it may take, and what outlives a change of
certificates, a restart and a drain."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf import wrappers_pb2
from grpc_health.v1 import health_pb2

from deploy.certificates import make_authority, make_leaf
from services.common import rpc_client
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import request_id_var
from services.common.rpc_server import RpcServer
from tests.common.conftest import (
    ECHO,
    ECHO_STREAMING,
    ONLY_IDENTITY,
    SAY,
    Echo,
    EchoService,
    EchoStub,
    StartEcho,
    add_echo,
)
from tests.conftest import MakeCertificates

CANARY = "canary-5f1d"


async def refusal(echo: EchoService, **peer: object) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await echo.say("hello", echo.peer(**peer))  # type: ignore[arg-type]
    return refused.value


async def test_p21_the_declared_caller_is_answered(echo: EchoService) -> None:
    assert await echo.say("hello") == "hello"


@pytest.mark.parametrize("caller", ["otp", "notifier", "policy", "echo"])
async def test_a67_another_service_s_certificate_is_refused_before_the_handler(echo: EchoService, caller: str) -> None:
    refused = await refusal(echo, caller=caller)
    assert refused.code is ErrorCode.FORBIDDEN
    channel = grpc.aio.secure_channel(
        f"127.0.0.1:{echo.server.port}",
        _credentials(echo.peer(caller)._tls_dir),
        options=(("grpc.ssl_target_name_override", "echo"),),
    )
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await EchoStub(channel).Say(wrappers_pb2.StringValue(value="hello"), timeout=2)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert echo.echo.heard == []


async def test_a67_a_rogue_authority_an_expired_leaf_no_certificate_and_plaintext_reach_nothing(
    echo: EchoService, authority: Path, tmp_path: Path
) -> None:
    rogue, expired = tmp_path / "rogue", tmp_path / "expired"
    make_authority(tmp_path / "rogue-authority")
    make_leaf(tmp_path / "rogue-authority", rogue, ["identity"])
    (rogue / "ca.pem").chmod(0o600)
    (rogue / "ca.pem").write_bytes((authority / "ca.pem").read_bytes())
    make_leaf(authority, expired, ["identity"], now=datetime.now(UTC) - timedelta(days=31))
    for tls_dir in (rogue, expired):
        refused = await refusal(echo, tls_dir=tls_dir)
        assert (refused.code, refused.members["away"]) == (ErrorCode.UNAVAILABLE, "echo")
    target = f"127.0.0.1:{echo.server.port}"
    only_ca = grpc.ssl_channel_credentials((authority / "ca.pem").read_bytes())
    named = (("grpc.ssl_target_name_override", "echo"),)
    for channel in (grpc.aio.secure_channel(target, only_ca, options=named), grpc.aio.insecure_channel(target)):
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await EchoStub(channel).Say(wrappers_pb2.StringValue(value="hello"), timeout=2)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert echo.echo.heard == []


async def test_a67_a_server_under_another_name_is_not_talked_to(echo: EchoService) -> None:
    refused = await refusal(echo, name="otp")
    assert refused.code is ErrorCode.UNAVAILABLE
    assert echo.echo.heard == []


async def test_a_server_of_a_rogue_authority_is_not_talked_to(start_echo: StartEcho, tmp_path: Path) -> None:
    make_authority(tmp_path / "authority")
    make_leaf(tmp_path / "authority", tmp_path / "leaf", ["echo"])
    service = await start_echo(tls_dir=tmp_path / "leaf")
    assert (await refusal(service)).code is ErrorCode.UNAVAILABLE
    assert service.echo.heard == []


async def test_a_method_without_declared_callers_stops_the_start(certificates: MakeCertificates) -> None:
    server = RpcServer("127.0.0.1:0", certificates("echo"), {})
    with pytest.raises(LookupError, match=r"no caller is declared for /countersign\.echo\.v1\.Echo/Say"):
        server.register(add_echo, Echo(), ECHO)
    await server.stop(0)


async def test_a_streaming_method_stops_the_start(certificates: MakeCertificates) -> None:
    allowed = {"/countersign.echo.v1.EchoStreaming/Say": frozenset({"identity"})}
    server = RpcServer("127.0.0.1:0", certificates("echo"), allowed)
    with pytest.raises(LookupError, match="Say would not be checked"):
        server.register(add_echo, Echo(), ECHO_STREAMING)
    await server.stop(0)


async def test_two_servers_do_not_share_a_port_silently(start_echo: StartEcho) -> None:
    first = await start_echo()
    with pytest.raises(RuntimeError):
        await start_echo(listen=f"127.0.0.1:{first.server.port}")


async def test_the_typed_error_crosses_whole(echo: EchoService) -> None:
    async def refuse(text: str) -> str:
        raise ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, "Später, bitte.", retry_after=30, locked=False, names=["a"])

    echo.echo.answer = refuse
    with pytest.raises(ServiceError) as refused:
        await echo.say("hello")
    assert refused.value.code is ErrorCode.TOO_MANY_ATTEMPTS
    assert refused.value.detail == "Später, bitte."
    assert refused.value.members == {"retry_after": 30, "locked": False, "names": ["a"]}


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_every_error_code_crosses(echo: EchoService, code: ErrorCode) -> None:
    async def refuse(text: str) -> str:
        raise ServiceError(code, "why")

    echo.echo.answer = refuse
    with pytest.raises(ServiceError) as refused:
        await echo.say("hello")
    assert (refused.value.code, refused.value.detail) == (code, "why")


async def test_a60_the_text_of_an_unhandled_exception_never_reaches_the_caller(echo: EchoService) -> None:
    async def burst(text: str) -> str:
        raise ValueError(f"SELECT {CANARY} FROM secrets")

    echo.echo.answer = burst
    peer = echo.peer()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await peer.stub.Say(wrappers_pb2.StringValue(value="hello"), timeout=2)
    told = f"{error.value.details()} {error.value.debug_error_string()} {error.value.trailing_metadata()}"
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert error.value.details() == "internal error"
    assert CANARY not in told
    with pytest.raises(ServiceError) as refused:
        await echo.say("hello", peer)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert CANARY not in str(refused.value)


async def test_f02_a_call_ends_at_its_deadline(echo: EchoService) -> None:
    async def hang(text: str) -> str:
        await asyncio.sleep(30)
        return text

    echo.echo.answer = hang
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ServiceError) as refused:
        await echo.say("hello", seconds=0.3, repeatable=True)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert loop.time() - began < 1.5


async def test_the_request_id_follows_the_call_unless_it_could_do_harm(echo: EchoService) -> None:
    async def tell(text: str) -> str:
        return request_id_var.get()

    echo.echo.answer = tell
    token = request_id_var.set("request-12345")
    assert await echo.say("hello") == "request-12345"
    for harmful in ("short", "x" * 65, 'a"quote-and-more', "semi;colon-and-more"):
        request_id_var.set(harmful)
        told = await echo.say("hello")
        assert told != harmful
        assert len(told) == 32
    request_id_var.reset(token)


async def test_each_call_is_counted_by_method_and_outcome(echo: EchoService) -> None:
    from services.common.metrics import RPC_HANDLED

    def count(outcome: str) -> float:
        return RPC_HANDLED.labels(SAY, outcome)._value.get()  # type: ignore[no-any-return]

    before = count("OK"), count("PERMISSION_DENIED")
    await echo.say("hello")
    await refusal(echo, caller="otp")
    # A refusal reaches its caller before the server has done with the call.
    for _ in range(100):
        counted = count("OK") - before[0], count("PERMISSION_DENIED") - before[1]
        if counted == (1, 1):
            break
        await asyncio.sleep(0.05)
    assert counted == (1, 1)


async def test_p19_a_peer_that_comes_back_is_reached_again_without_a_restart(
    start_echo: StartEcho, certificates: MakeCertificates
) -> None:
    first = await start_echo()
    peer = first.peer()
    assert await first.say("one", peer) == "one"
    listen = f"127.0.0.1:{first.server.port}"
    await first.server.stop(0)
    with pytest.raises(ServiceError) as refused:
        await first.say("two", peer)
    assert refused.value.members["away"] == "echo"
    await start_echo(listen=listen)
    await _until(lambda: first.say("three", peer), seconds=5)


async def test_a_repeatable_call_survives_one_broken_connection(echo: EchoService) -> None:
    """The server says UNAVAILABLE once; a call whose contract allows it is made again, another is not."""
    said: list[str] = []

    async def first_time_away(text: str) -> str:
        said.append(text)
        if said.count(text) == 1:
            raise ServiceError(ErrorCode.UNAVAILABLE, "away")
        return text

    echo.echo.answer = first_time_away
    peer = echo.peer()
    assert await echo.say("read", peer, repeatable=True) == "read"
    with pytest.raises(ServiceError):
        await echo.say("write", peer)
    assert said == ["read", "read", "write"]


async def test_f15_new_certificates_are_used_without_a_restart(
    start_echo: StartEcho, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends begin with leaves that are about to be refused; the files are replaced; both go on."""
    monkeypatch.setattr(rpc_client, "_LOOK_EVERY_SECONDS", 0.05)
    make_leaf(authority, tmp_path / "server", ["echo"])
    make_leaf(authority, tmp_path / "client", ["otp"])
    service = await start_echo(tls_dir=tmp_path / "server")
    peer = service.peer(tls_dir=tmp_path / "client")
    with pytest.raises(ServiceError) as refused:
        await service.say("hello", peer)
    assert refused.value.code is ErrorCode.FORBIDDEN
    make_leaf(authority, tmp_path / "client", ["identity"])
    assert await _until(lambda: service.say("hello", peer), seconds=5) == "hello"
    make_leaf(authority, tmp_path / "server", ["echo-renewed"])
    renewed = service.peer(name="echo-renewed")
    assert await service.say("hello", renewed) == "hello"
    assert await service.say("hello", peer) == "hello", "the connection that stands goes on"


async def test_f15_files_that_cannot_be_read_leave_the_good_certificate_in_use(
    start_echo: StartEcho, authority: Path, tmp_path: Path
) -> None:
    make_leaf(authority, tmp_path / "server", ["echo"])
    service = await start_echo(tls_dir=tmp_path / "server")
    key = (tmp_path / "server" / "key.pem").read_bytes()
    (tmp_path / "server" / "key.pem").unlink()
    assert await service.say("one") == "one"
    (tmp_path / "server" / "key.pem").write_bytes(key)
    assert await service.say("two") == "two"


async def test_a_drain_says_not_serving_takes_nothing_new_and_finishes_what_is_in_flight(echo: EchoService) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(text: str) -> str:
        begun.set()
        await may_end.wait()
        return text

    echo.echo.answer = slowly
    in_flight = asyncio.create_task(echo.say("in flight", seconds=5))
    await begun.wait()
    stopping = asyncio.create_task(echo.server.stop())
    await asyncio.sleep(0.05)
    answer = await echo.server.health.Check(health_pb2.HealthCheckRequest(), None)
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(ServiceError):
        await echo.say("too late")
    may_end.set()
    assert await in_flight == "in flight"
    await stopping


async def test_health_follows_what_a_service_cannot_do_without(
    certificates: MakeCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.common.rpc_server._CHECK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr("services.common.rpc_server._CHECK_WITHIN_SECONDS", 0.1)
    state: dict[str, Exception | float] = {"fails": ServiceError(ErrorCode.UNAVAILABLE, "away", away="database")}

    async def check() -> None:
        match state["fails"]:
            case Exception() as error:
                raise error
            case float(seconds):
                await asyncio.sleep(seconds)

    server = RpcServer("127.0.0.1:0", certificates("echo"), ONLY_IDENTITY)
    server.register(add_echo, Echo(), ECHO)
    server.follow(check)
    await server.start()

    async def becomes(wanted: int) -> None:
        async with asyncio.timeout(5):
            while (await server.health.Check(health_pb2.HealthCheckRequest(), None)).status != wanted:
                await asyncio.sleep(0.01)

    not_serving, serving = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
    answer = await server.health.Check(health_pb2.HealthCheckRequest(), None)
    assert answer.status == not_serving, "never said to serve before the first check"
    state["fails"] = 0.0
    await becomes(serving)
    state["fails"] = 30.0
    await becomes(not_serving)
    state["fails"] = 0.0
    await becomes(serving)
    state["fails"] = ValueError("broken")
    await becomes(not_serving)
    await server.stop(0)


def _credentials(folder: Path) -> grpc.ChannelCredentials:
    ca, key, cert = ((folder / name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem"))
    return grpc.ssl_channel_credentials(ca, key, cert)


async def _until(attempt, seconds: float):  # type: ignore[no-untyped-def]
    """The first answer that is not a refusal; the last refusal where none came in time."""
    ends_at = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends_at:
        with contextlib.suppress(ServiceError):
            return await attempt()
        await asyncio.sleep(0.05)
    return await attempt()
