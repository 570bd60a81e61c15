"""Calls to a peer service: mutual TLS, a deadline on every call, the request id passed on, errors typed.

The certificate files are looked at every half minute; when they have changed the channel is replaced, and calls in
flight on the old one finish.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.errors import ServiceError, unavailable
from services.common.logs import get_logger, request_id_var
from services.common.rpc_errors import from_rpc_error
from services.common.tracing import client_span

REQUEST_ID_KEY = "x-request-id"
_LOOK_EVERY_SECONDS = 30.0
_OLD_CHANNEL_GRACE_SECONDS = 10.0
_OPTIONS = (
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.keepalive_time_ms", 20000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.max_receive_message_length", 4 << 20),
)

StubT = TypeVar("StubT")
Request = TypeVar("Request")
Response = TypeVar("Response")

_log = get_logger(__name__)


class Peer(Generic[StubT]):
    """One service as another sees it. `name` is the name its certificate must carry."""

    def __init__(self, make_stub: Callable[[grpc.aio.Channel], StubT], target: str, name: str, tls_dir: Path) -> None:
        self.name = name
        self._make_stub = make_stub
        self._target = target
        self._tls_dir = tls_dir
        self._stamp = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._stub: StubT | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def stub(self) -> StubT:
        """The generated stub on the current channel; opens it at first use, within a running loop."""
        if self._stub is None:
            self._open()
            self._watch = asyncio.get_running_loop().create_task(self._watch_certificates())
        assert self._stub is not None
        return self._stub

    async def call(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Any,
        seconds: float = 2.0,
        *,
        repeatable: bool = False,
    ) -> Response:
        """Answers the peer's response, or raises its ServiceError (`unavailable` where none came in `seconds`).

        `repeatable` says the contract lets the same request be sent twice: it is, once, where the connection broke.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while True:
            try:
                with client_span(self.name) as trace_metadata:
                    metadata = ((REQUEST_ID_KEY, request_id_var.get()), *trace_metadata)
                    return await method(request, timeout=max(ends_at - loop.time(), 0.001), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error, self.name)
                broke = error.code() is grpc.StatusCode.UNAVAILABLE and error.trailing_metadata() is not None
                if repeatable and broke and ends_at - loop.time() > 0.1:
                    repeatable = False
                    await asyncio.sleep(0.05)
                    continue
                _log_failure(self.name, error, refusal)
                raise refusal from error

    async def ping(self, seconds: float = 1.0) -> None:
        """Raises `unavailable` unless the peer answers and says that it serves."""
        if self._channel is None:
            _ = self.stub  # opens it
        assert self._channel is not None
        health: Any = health_pb2_grpc.HealthStub(self._channel)
        response: Any = await self.call(health.Check, health_pb2.HealthCheckRequest(), seconds)
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise unavailable(self.name)

    async def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        if self._channel:
            await self._channel.close()

    def _open(self) -> None:
        ca, cert, key = (self._tls_dir / name for name in ("ca.pem", "cert.pem", "key.pem"))
        stamp = _newest_change(self._tls_dir)
        credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), cert.read_bytes())
        self._stamp = stamp  # of before the reading: what changed meanwhile is read again
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", self.name))
        self._channel = grpc.aio.secure_channel(self._target, credentials, options=options)
        self._stub = self._make_stub(self._channel)

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            try:
                if _newest_change(self._tls_dir) == self._stamp:
                    continue
                old = self._channel
                self._open()
                _log.info("certificates_reloaded", peer=self.name)
                if old:
                    await old.close(_OLD_CHANNEL_GRACE_SECONDS)
            except Exception as error:
                _log.error("certificates_not_reloaded", peer=self.name, reason=str(error))


def _newest_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in folder.glob("*.pem"))


def _log_failure(peer: str, error: grpc.aio.AioRpcError, refusal: ServiceError) -> None:
    if refusal.members.get("away") == peer:
        _log.warning("peer_call_failed", peer=peer, grpc_code=error.code().name)
