"""Time to the first byte of the pages that people wait for most, one request after another on a stack that does nothing
else, and their floor: the gateway's bare `/healthz`, which looks nothing up."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.load import Phase
from tests.bench.report import Series, median_ms
from tests.bench.stack import Stack

AIM_MS = 50.0
PEOPLE = 100
_COOKIE = "countersign"  # over plain http on loopback (services/identity/cookies.py)


@dataclass(slots=True)
class Page:
    """A page, and the sessions that look at it in turn; without one it is looked at by a stranger."""

    path: str
    whose: str
    tokens: deque[str] = field(default_factory=deque)

    def take(self) -> str:
        self.tokens.rotate(-1)
        return self.tokens[0] if self.tokens else ""


def pages_of(stack: Stack) -> Sequence[Page]:
    """The sign-in, the code that a password is followed by, one's own page, and the clinic's rule."""
    waiting, people = stack.add_people(PEOPLE)[0], stack.add_people(PEOPLE)[0]
    return (
        Page(f"/c/{stack.clinic}", "a stranger"),
        Page(
            "/code", f"{PEOPLE} people between password and code", deque(stack.add_sessions(waiting, is_proven=False))
        ),
        Page("/me", f"{PEOPLE} people who are in", deque(stack.add_sessions(people, is_proven=True))),
        Page("/clinic/security", "the administrator", deque([stack.administrator_token()])),
    )


class FirstBytes:
    """One kept connection that asks as a browser does, and waits for each answer's end before it asks again."""

    def __init__(self, stack: Stack) -> None:
        self._port = stack.port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def page_phase(self, page: Page, seconds: float) -> Phase:
        return await self._phase(page, seconds)

    async def floor_phase(self, seconds: float) -> Phase:
        return await self._phase(Page("/healthz", "anybody"), seconds)

    async def _phase(self, page: Page, seconds: float) -> Phase:
        latencies: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            latencies.append(await self._ask(page))
        took = time.perf_counter() - began
        await self._close()  # the gateway would, in the pause
        return Phase(len(latencies), took, tuple(latencies))

    async def _ask(self, page: Page) -> float:
        """Milliseconds from the request's last byte to the answer's first."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        token = page.take()
        cookie = f"Cookie: {_COOKIE}={token}\r\n" if token else ""
        head = f"GET {page.path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: text/html\r\n{cookie}\r\n"
        self._writer.write(head.encode())
        sent = time.perf_counter()
        first = await self._reader.readexactly(1)
        took = (time.perf_counter() - sent) * 1000
        answered = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line.split(":")[1]) for line in answered.splitlines() if line.startswith("content-length:"))
        body = await self._reader.readexactly(length)
        if answered[9:12] != "200" or (page.path != "/healthz" and b"</html>" not in body):
            raise RuntimeError(f"{page.path} was answered {answered.splitlines()[0]}")
        if "connection: close" in answered:
            await self._close()
        return took

    async def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


def judged(page: Page, series: Series) -> tuple[str, bool]:
    """The line about the aim, and whether it is met."""
    median = median_ms(series.ours)
    passes = median <= AIM_MS
    return (
        f"  {'first byte, at the median':<34} {median:.1f} ms, beside {median_ms(series.floor):.1f} ms"
        f"   {'PASS' if passes else 'FAIL'}: the aim is {AIM_MS:.0f} ms",
        passes,
    )
