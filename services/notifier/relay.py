"""Carries ids from the delivery table to the queue, at once and again where they got lost, and ends what can no longer
be sent. It keeps no state of its own: killed at any point, another goes on from the rows."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.notifier.measures import BACKLOG, CHANGES, NOTICE_AGE, PUBLISHED, QUEUE_AGE, TEXTS_TODAY, beat
from services.notifier.model import LEAST_LIFE, LONGEST_SENDING, DeliveryId, State
from services.notifier.relay_store import QueuedSignal, RelayStore

_POLL_SECONDS = 0.5
_SWEEP_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_TIDY_EVERY = timedelta(hours=1)
_BATCH = 100
_NOTICES_AT_ONCE = 3
"""So many of a worker's eight threads a notice may hold while its provider is slow: the others are there for codes."""
_STALE_AFTER = timedelta(seconds=10)
"""Published and not claimed for so long: the broker lost it, or the worker did."""
_SPENDING_KEPT_FOR = timedelta(days=40)
"""No cap asks for more than a day; a month's bill can still be looked into."""
_BUSY_BACKLOG = 50
"""With more than this in the queue the workers are behind, and nothing is lost; publishing again would only add."""

_log = get_logger(__name__)


class Relay:
    """`run` until the stop event is set; the three steps it is made of can be taken singly."""

    def __init__(
        self,
        store: RelayStore,
        signal: QueuedSignal,
        publish: Callable[[Sequence[DeliveryId]], None],
        backlog: Callable[[], int | None],
        clock: Clock,
        heartbeat_file: Path | None = None,
    ) -> None:
        self._store = store
        self._signal = signal
        self._publish = publish
        self._backlog = backlog
        self._clock = clock
        self._heartbeat_file = heartbeat_file
        self._woken = asyncio.Event()
        self._looked_for_stale_at = 0.0
        self._tidied_at: datetime | None = None

    async def run(self, stopped: asyncio.Event) -> None:
        """Three loops, so that a broker that hangs keeps no delivery from expiring in time."""
        loops = [
            asyncio.create_task(self._every(_POLL_SECONDS, self._publish_while_due)),
            asyncio.create_task(self._every(_SWEEP_SECONDS, self.sweep)),
            asyncio.create_task(self._listen()),
        ]
        await stopped.wait()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    async def publish_due(self, *, stale_too: bool = False) -> int:
        """Publishes one batch and answers how many it took: codes first, and notices once no more codes are due."""
        now = self._clock.now()
        stale = now - _STALE_AFTER
        codes = await self._store.take_due(now, stale, _BATCH, stale_too=stale_too)
        await self._put_in_queue(codes)
        if len(codes) == _BATCH:
            return _BATCH
        notices = await self._store.take_due_notices(now, stale, _NOTICES_AT_ONCE, stale_too=stale_too)
        await self._put_in_queue(notices)
        return len(codes) + len(notices)

    async def _put_in_queue(self, taken: Sequence[DeliveryId]) -> None:
        """What the broker does not take is due again."""
        if not taken:
            return
        try:
            await asyncio.to_thread(self._publish, taken)
        except Exception:
            await self._store.forget_publishing(taken)
            raise
        PUBLISHED.inc(len(taken))
        _log.debug("published", count=len(taken))

    async def sweep(self) -> None:
        """Ends what is too late and what was lost in sending; measures the queue; drops what was counted long ago."""
        now = self._clock.now()
        if lost := await self._store.give_up_lost(now, now - LONGEST_SENDING):
            CHANGES.labels(State.UNKNOWN, "worker_lost").inc(lost)
            _log.warning("deliveries_lost_in_sending", count=lost)
        if expired := await self._store.expire(now, now + LEAST_LIFE):
            CHANGES.labels(State.EXPIRED, "too_late").inc(expired)
            _log.warning("deliveries_expired", count=expired)
        for gauge, notices in ((QUEUE_AGE, False), (NOTICE_AGE, True)):
            since = await self._store.oldest_due(now, notices=notices)
            gauge.set((now - since).total_seconds() if since else 0)
        TEXTS_TODAY.set(await self._store.texts_taken_on(now))
        if self._tidied_at is None or now - self._tidied_at >= _TIDY_EVERY:
            await self._store.forget_spending(now - _SPENDING_KEPT_FOR)
            self._tidied_at = now
        beat("relay")
        if self._heartbeat_file:
            self._heartbeat_file.touch()

    async def _publish_while_due(self) -> None:
        while await self.publish_due() == _BATCH:
            pass
        if time.monotonic() - self._looked_for_stale_at >= _SWEEP_SECONDS:
            self._looked_for_stale_at = time.monotonic()
            backlog = await asyncio.to_thread(self._backlog)
            BACKLOG.set(-1 if backlog is None else backlog)
            if backlog is not None and backlog <= _BUSY_BACKLOG:
                await self.publish_due(stale_too=True)

    async def _every(self, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        wakes = step == self._publish_while_due
        while True:
            try:
                await step()
            except Exception as error:
                _log.warning("relay_step_failed", step=step.__name__, error=_name(error))
                await asyncio.sleep(_RETRY_SECONDS)
            if wakes:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), seconds)
                self._woken.clear()
            else:
                await asyncio.sleep(seconds)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._signal.listen() as signals:
                    async for _ in signals:
                        self._woken.set()
            except OSError as error:
                _log.warning("signal_lost", error=_name(error))
            await asyncio.sleep(_RETRY_SECONDS)


def _name(error: Exception) -> str:
    return str(error.members.get("away")) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
