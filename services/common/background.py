"""Work that goes on beside the serving until its process ends, such as a sweep every few seconds.

The work looks after its own failures. Invariant: after `close` nothing of it runs any more.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

_AGAIN_AFTER_SECONDS = 1.0


class Background:
    """`start` and `close` bracket its life; `work` never ends by itself."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Also where it was never started."""
        while self._task is not None and not self._task.done():
            # Again where that was not enough: a driver below may swallow a cancellation, and the work goes on.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_AGAIN_AFTER_SECONDS)
