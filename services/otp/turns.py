"""One at a time for each account within this process: a flood on one account queues here, where it costs memory, and
not at the row, where it would hold every database connection of the service.

It is a courtesy to other users, never the guarantee: between processes the row's lock decides.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.errors import unavailable

_LONGEST_WAIT_SECONDS = 1.0  # as long as a lock on the row may take (security.md)


class _Line:
    __slots__ = ("lock", "members")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.members = 0


class Turns:
    """Lines by name; a line exists only while somebody stands in it."""

    def __init__(self, longest_wait_seconds: float = _LONGEST_WAIT_SECONDS) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Waits for the turn, at most the longest wait; past it the answer is `unavailable`."""
        line = self._lines.setdefault(name, _Line())
        line.members += 1
        try:
            if line.lock.locked():
                await self._wait(line)
            else:
                await line.lock.acquire()
            try:
                yield
            finally:
                line.lock.release()
        finally:
            line.members -= 1
            if not line.members:
                del self._lines[name]

    async def _wait(self, line: _Line) -> None:
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                await line.lock.acquire()
        except TimeoutError:
            raise unavailable("account") from None
