"""Whether text messages go out of late, told from how deliveries fared: by what is on record, so that every replica
says the same, and so that it mends by itself once they go out again or nothing was tried for a while."""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from services.common.clock import Clock
from services.notifier.measures import SMS_DEGRADED
from services.notifier.model import Recent

OF_LATE = timedelta(minutes=5)
LEAST_BAD = 3
"""So few say nothing: one dropped connection is no outage."""
_BELIEVED_SECONDS = 5.0

ReadRecent = Callable[[datetime], Awaitable[Recent]]
"""How many deliveries went out since then, and how many did not for the provider's or our own sake."""


class ProviderHealth:
    def __init__(self, read: ReadRecent, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._monotonic = monotonic
        self._is_degraded = False
        self._holds_until = 0.0

    async def is_degraded(self) -> bool:
        if self._monotonic() >= self._holds_until:
            recent = await self._read(self._clock.now() - OF_LATE)
            self._is_degraded = recent.bad >= LEAST_BAD and recent.bad > recent.good
            SMS_DEGRADED.set(self._is_degraded)
            self._holds_until = self._monotonic() + _BELIEVED_SECONDS
        return self._is_degraded
