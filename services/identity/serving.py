"""Serves the gateway's two doors, HTTP and gRPC, until SIGTERM; both then drain at once, and what stands behind them is
closed when both are done."""

import asyncio
import signal
import socket
from collections.abc import Sequence
from datetime import timedelta

import uvicorn
from countersign.identity.v1 import operations_pb2, sessions_pb2
from countersign.identity.v1.operations_pb2_grpc import add_OperationsServicer_to_server
from countersign.identity.v1.sessions_pb2_grpc import add_SessionsServicer_to_server

from services.common.background import Background
from services.common.logs import get_logger
from services.common.rpc_server import RpcServer
from services.identity.app import create_app
from services.identity.gateway import Gateway
from services.identity.servicer import OperationsServicer, SessionsServicer, allowed
from services.identity.settings import IdentitySettings
from services.identity.store.sessions import PURGE_AFTER

_DRAIN_SECONDS = 10
_PURGE_EVERY = timedelta(minutes=10)
# Longer than a proxy keeps a connection to us (Caddy: two minutes): who closes first must not be we, under a request.
_KEEP_ALIVE_SECONDS = 150

_log = get_logger(__name__)


class _HttpServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, rpc: RpcServer | None) -> None:
        super().__init__(config)
        self._rpc = rpc

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        closing = [super().shutdown(sockets)]
        if self._rpc is not None:
            closing.append(self._rpc.stop(_DRAIN_SECONDS))
        await asyncio.gather(*closing)


async def serve(gateway: Gateway, beside: Sequence[Background] = ()) -> None:
    """Opens the gateway, serves, closes it. `beside`: work with the gateway meanwhile, over before it is closed."""
    settings = gateway.settings
    rpc = rpc_server(gateway) if settings.grpc_listen else None
    server = _HttpServer(_config(gateway, settings), rpc)

    def drain(*_: object) -> None:
        server.should_exit = True

    # uvicorn takes over while it serves, drains, and then raises the signal again for whoever was there before: us, so
    # that what follows still runs and the process ends as one that was asked to.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, drain)
    try:
        # A pool that is left open would keep a start that failed from ending, and from saying why.
        await gateway.open()
        for work in beside:
            work.start()
        if rpc is not None:
            await rpc.start()
        await server.serve()
    finally:
        for work in beside:
            await work.close()
        await gateway.close()


async def keep_purging(gateway: Gateway) -> None:
    """Drops sessions that ended so long ago that nobody asks why, browsers that nobody remembers, old notices, and
    notes of what was followed up long ago; until it is cancelled."""
    while True:
        await asyncio.sleep(_PURGE_EVERY.total_seconds())
        try:
            while await gateway.session_store.purge(gateway.clock.now() - PURGE_AFTER):
                pass
            while await gateway.remembering.purge():
                pass
            while await gateway.notices.purge():
                pass
            while await gateway.aftermath.purge():
                pass
        except Exception:
            _log.exception("purge_failed")


def rpc_server(gateway: Gateway) -> RpcServer:
    """The gRPC door, not open yet."""
    settings = gateway.settings
    rpc = RpcServer(settings.grpc_listen, settings.tls_dir, allowed(settings.backend_names))
    service = sessions_pb2.DESCRIPTOR.services_by_name["Sessions"]
    rpc.register(add_SessionsServicer_to_server, SessionsServicer(gateway.standings), service)
    operations = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
    commands = OperationsServicer(gateway.operator_bypass, gateway.operator_lookup)
    rpc.register(add_OperationsServicer_to_server, commands, operations)
    rpc.follow(gateway.database.ping)
    rpc.follow(gateway.keyring.ensure_ready)
    return rpc


def _config(gateway: Gateway, settings: IdentitySettings) -> uvicorn.Config:
    host, _, port = settings.listen.rpartition(":")
    return uvicorn.Config(
        create_app(gateway),
        host=host.strip("[]"),
        port=int(port),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        proxy_headers=False,  # the one trusted hop is read in `addresses`
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
