"""A gRPC server as every service runs it: mutual TLS that re-reads its files, a caller allow-list for each method,
typed errors, the standard health service, and a drain on SIGTERM.

A method that the allow-list does not name stops the start: nothing is reachable by default.
"""

import asyncio
import functools
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from services.common import metrics
from services.common.background import Background
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import accept_request_id, get_logger, request_id_var
from services.common.rpc_client import REQUEST_ID_KEY
from services.common.rpc_errors import to_status
from services.common.tracing import server_span

Allowed = Mapping[str, frozenset[str]]
"""Full method name ('/package.Service/Method') → the services that may call it."""

Check = Callable[[], Awaitable[None]]
"""Raises where something that the service cannot do without is away."""

ANY_PEER = frozenset({"*"})
_HEALTH = {f"/grpc.health.v1.Health/{name}": ANY_PEER for name in ("Check", "Watch", "List")}
_DRAIN_SECONDS = 10.0
_CHECK_EVERY_SECONDS = 2.0
_CHECK_WITHIN_SECONDS = 3.0
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_connection_age_ms", 45000),
    ("grpc.max_connection_age_grace_ms", 10000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10000),
)

_log = get_logger(__name__)


class RpcServer:
    """Owns the server's life: `start`, `run_until_stopped`, `stop`. `register` adds a servicer before the start."""

    def __init__(self, listen: str, tls_dir: Path, allowed: Allowed) -> None:
        self._listen = listen
        self._tls = _Certificates(tls_dir)
        self._edge = _Edge({**allowed, **_HEALTH})
        self._server = grpc.aio.server(interceptors=[self._edge], options=_OPTIONS)
        self._checks: list[Check] = []
        self._following = Background(self._follow_checks)
        self.health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = 0

    def register(self, add_to_server: Callable[[Any, Any], None], servicer: Any, service: Any) -> None:
        """Adds a servicer. `service` is its descriptor; every method of it must be in the allow-list."""
        missing = [name for name in _full_names(service) if name not in self._edge.allowed]
        if missing:
            raise LookupError(f"no caller is declared for {', '.join(missing)}")
        streaming = [method.name for method in service.methods if method.client_streaming or method.server_streaming]
        if streaming:
            raise LookupError(f"callers of {', '.join(streaming)} would not be checked: only plain calls are")
        add_to_server(servicer, self._server)

    def follow(self, check: Check) -> None:
        """Says SERVING only while `check` raises nothing; it is asked again every two seconds, so that what comes back
        needs no restart of ours."""
        self._checks.append(check)

    async def start(self) -> int:
        """Checks what is to be followed, and listens; answers the port."""
        # Before anybody can ask: what a check makes ready, such as a keyring, is there for the first call; and the
        # health service would say SERVING from the start.
        await self.health.set("", await self._state())
        self.port = self._server.add_secure_port(self._listen, self._tls.credentials())
        await self._server.start()
        if self._checks:
            self._following.start()
        _log.info("serving", port=self.port)
        return self.port

    async def run_until_stopped(self) -> None:
        """Waits for SIGTERM or SIGINT, then drains."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
        await self.stop()

    async def stop(self, grace_seconds: float = _DRAIN_SECONDS) -> None:
        _log.info("draining")
        await self._following.close()
        await self.health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)

    async def _follow_checks(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY_SECONDS)
            await self.health.set("", await self._state())

    async def _state(self) -> Any:
        for check in self._checks:
            try:
                # Not wait_for: before Python 3.12 it may swallow a cancellation, and then the stop would wait for ever.
                async with asyncio.timeout(_CHECK_WITHIN_SECONDS):
                    await check()
            except Exception as error:
                away, why = (error.members.get("away"), error.why) if isinstance(error, ServiceError) else (None, "")
                _log.warning("not_serving", away=away, error=type(error).__name__, **({"why": why} if why else {}))
                return health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse.SERVING


class _Certificates:
    """Server credentials that are read anew when a file has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[float, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        # The stubs say the callback must answer a configuration; grpc's own contract lets None mean "unchanged".
        fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._read_if_changed)
        return grpc.dynamic_ssl_server_credentials(self._read(), fetch, require_client_authentication=True)

    def _files(self) -> tuple[Path, Path, Path]:
        return self._folder / "ca.pem", self._folder / "cert.pem", self._folder / "key.pem"

    def _read(self) -> grpc.ServerCertificateConfiguration:
        ca, cert, key = self._files()
        stamp = self._look()
        read = grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())], ca.read_bytes())
        self._stamp = stamp  # of before the reading: what changed meanwhile is read again
        return read

    def _look(self) -> tuple[float, ...]:
        return tuple(path.stat().st_mtime for path in self._files())

    def _read_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            if self._look() == self._stamp:
                return None
            return self._read()
        except OSError as error:
            _log.error("certificates_not_reloaded", reason=str(error))
            return None


class _Edge(grpc.aio.ServerInterceptor):
    """What stands before every handler: who calls, with what request id, and what may go out as an error."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self._handlers: dict[str, Any] = {}  # one a method, made at its first call

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method: str = handler_call_details.method
        if (known := self._handlers.get(method)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler.unary_unary is None:
            if method not in _HEALTH:
                raise NotImplementedError(f"{method} streams; only the health service may")
            return handler
        inner = handler.unary_unary
        count = functools.cache(lambda outcome: metrics.RPC_HANDLED.labels(method, outcome))
        observe = metrics.RPC_SECONDS.labels(method).observe

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = time.perf_counter()
            sent = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
            request_id_var.set(accept_request_id(sent.get(REQUEST_ID_KEY)))
            outcome = "OK"
            try:
                self._check_caller(method, context)
                with server_span(method, sent):
                    return await inner(request, context)
            except ServiceError as error:
                code, text, trailing = to_status(error)
                outcome = code.name
                if error.code is ErrorCode.UNAVAILABLE:
                    _log.warning("rpc_unavailable", method=method, away=error.members.get("away"))
                await context.abort(code, text, trailing)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                outcome = "CANCELLED"
                raise
            except Exception:
                outcome = "INTERNAL"
                _log.exception("rpc_failed", method=method)
                await context.abort(grpc.StatusCode.INTERNAL, "internal error")
            finally:
                seconds = time.perf_counter() - started
                count(outcome).inc()
                observe(seconds)
                if method not in _HEALTH:
                    # The line by which a request id is followed from service to service.
                    _log.info("rpc", method=method, grpc_code=outcome, ms=round(seconds * 1000, 1))

        self._handlers[method] = grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
        return self._handlers[method]

    def _check_caller(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        names = _peer_names(context)
        allowed = self.allowed.get(method, frozenset())
        if not names or not (allowed is ANY_PEER or names & allowed):
            _log.warning("caller_refused", method=method, callers=sorted(names))
            raise ServiceError(ErrorCode.FORBIDDEN, "this caller may not call this method")


def _peer_names(context: grpc.aio.ServicerContext[Any, Any]) -> frozenset[str]:
    """The DNS names of the client certificate that TLS has already verified."""
    found: Iterable[bytes] = context.auth_context().get("x509_subject_alternative_name", ())
    return frozenset(name.decode() for name in found)


def _full_names(service: Any) -> list[str]:
    return [f"/{service.full_name}/{method.name}" for method in service.methods]
