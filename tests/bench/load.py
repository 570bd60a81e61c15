"""Keeps a number of callers busy for a while and notes how long each call took."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase got done."""

    count: int
    seconds: float
    latencies_ms: tuple[float, ...]

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def run(once: Callable[[int], Awaitable[None]], callers: int, seconds: float) -> Phase:
    """Has `callers` call `once` (with their number), each again as soon as it is answered. Any failure ends it."""
    latencies: list[float] = []
    began = time.perf_counter()
    ends_at = began + seconds

    async def call(number: int) -> None:
        while (started := time.perf_counter()) < ends_at:
            await once(number)
            latencies.append((time.perf_counter() - started) * 1000)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(call(number))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return Phase(len(latencies), time.perf_counter() - began, tuple(latencies))
