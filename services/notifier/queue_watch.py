"""Measures what is under way, for the metrics: how many deliveries wait and are being sent, by sort and by age."""

import asyncio

from services.common.clock import Clock
from services.common.logs import get_logger
from services.notifier.measures import OPEN
from services.notifier.model import State
from services.notifier.operator_store import AGES, OLDER, OperatorStore

_SECONDS = 5.0

_log = get_logger(__name__)


class QueueWatch:
    """Runs in the relay, beside its loops: what it cannot measure holds up nothing."""

    def __init__(self, store: OperatorStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.measure()
            except Exception as error:
                _log.warning("queue_not_measured", error=type(error).__name__)
            await asyncio.sleep(_SECONDS)

    async def measure(self) -> None:
        counts = {
            (count.state, count.is_notice, count.age): count.count
            for count in await self._store.open_counts(self._clock.now())
        }
        for state in (State.QUEUED, State.SENDING):
            for is_notice in (False, True):
                for age in (*(age for age, _ in AGES), OLDER):
                    sort = "notice" if is_notice else "code"
                    OPEN.labels(state, sort, age).set(counts.get((state, is_notice, age), 0))
