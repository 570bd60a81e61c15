"""The gateway's part in a provider's callbacks, for tests of the notifier alone."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import grpc
from aiohttp import web

from deploy.embedded import free_port

if TYPE_CHECKING:
    from tests.notifier.conftest import Client


class CallbackReceiver:
    """The gateway's part in a callback: hands form, signature and query to the notifier, whichever is set."""

    def __init__(self) -> None:
        self.port = free_port()
        self.client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    async def _listen(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/webhooks/twilio/status", self._take)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _take(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        if self.client is None:
            return web.Response(status=503)
        try:
            signature = request.headers.get("X-Twilio-Signature", "")
            await asyncio.to_thread(self.client.call_back, form, signature, request.query_string)
        except grpc.RpcError as error:
            forbidden = error.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
            return web.Response(status=403 if forbidden else 503)
        return web.Response(status=204)

    def stop(self) -> None:
        if self._runner:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
