"""Session checks a second through the gateway, by whoever holds a session and by a proxy that asks about a request, and
their floor: a FastAPI app that answers and does nothing else."""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from deploy.embedded import free_port
from tests.bench.connection import Connection
from tests.bench.load import Phase, run
from tests.bench.stack import ROOT, Stack

CALLERS = 32


class SessionChecks:
    """Sessions of as many people, asked about in turn, so that what is remembered of one is often too old."""

    def __init__(self, stack: Stack, tokens: Iterable[str]) -> None:
        self._connections = [Connection("127.0.0.1", stack.port) for _ in range(CALLERS)]
        self._tokens = deque(tokens)

    async def session_phase(self, seconds: float) -> Phase:
        return await self._phase(self._session, seconds)

    async def forward_auth_phase(self, seconds: float) -> Phase:
        return await self._phase(self._forward_auth, seconds)

    async def _phase(self, once: Callable[[int], Awaitable[None]], seconds: float) -> Phase:
        done = await run(once, CALLERS, seconds)
        for connection in self._connections:
            await connection.close()
        return done

    def _take(self) -> str:
        self._tokens.rotate(-1)
        return self._tokens[0]

    async def _session(self, number: int) -> None:
        status, answer = await self._connections[number].get("/v1/session", self._take())
        if status != 200 or answer["state"] != "active":
            raise RuntimeError(f"a session check was answered {status} {answer}")

    async def _forward_auth(self, number: int) -> None:
        headers = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/", "X-Forwarded-Host": "127.0.0.1"}
        status, answer = await self._connections[number].get("/v1/forward-auth", self._take(), headers)
        if status != 200 or answer is not None:
            raise RuntimeError(f"forward-auth was answered {status} {answer}")


class Echo:
    """The floor, in a process of its own as the gateway is."""

    def __init__(self) -> None:
        self._port = free_port()
        self._connections = [Connection("127.0.0.1", self._port) for _ in range(CALLERS)]
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        command = (sys.executable, "-m", "tests.bench.echo", str(self._port))
        self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        for _ in range(200):
            try:
                await self._once(0)
                return
            except OSError:
                await asyncio.sleep(0.1)
        raise RuntimeError("the floor's app did not start")

    async def phase(self, seconds: float) -> Phase:
        return await run(self._once, CALLERS, seconds)

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()

    async def _once(self, number: int) -> None:
        status, _ = await self._connections[number].get("/echo")
        if status != 200:
            raise RuntimeError(f"the floor answered {status}")
