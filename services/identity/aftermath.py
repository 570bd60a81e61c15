"""Follows up what otp and policy have done, whether or not their reply was heard: at once by whoever has asked for it,
and every few seconds whatever a lost reply, or a process that died, has left.

Each event is followed up once, by whoever is first. It stays in its outbox until then, so nothing is forgotten.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from prometheus_client import Counter

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.common.outbox import OutboxEvent
from services.identity.consequences import consequence_of
from services.identity.model import Method, Session, UserId
from services.identity.peers.outbox import OutboxPeer
from services.identity.standing import Standings
from services.identity.store.aftermath import AftermathStore

FOLLOWED = Counter("identity_events_followed_total", "Events of other services that were followed up.", ["kind"])

_SWEEP_SECONDS = 3.0
_BATCH = 100
_REPEATED_WITHIN = timedelta(minutes=10)  # as a login may repeat its accepted code
_KEPT_FOR = timedelta(days=30)

_log = get_logger(__name__)


class Aftermath:
    def __init__(
        self, outboxes: Mapping[str, OutboxPeer], store: AftermathStore, standings: Standings, clock: Clock
    ) -> None:
        self._outboxes = outboxes
        self._store = store
        self._standings = standings
        self._clock = clock

    async def follow(self, service: str, user_id: UserId) -> None:
        """All that the service has done to this user's account. Raises `unavailable` where that cannot be said."""
        await self._follow(service, user_id)

    async def follow_soon(self, service: str, user_id: UserId) -> None:
        """The same, or the sweep does it: for what nobody's reply waits for."""
        try:
            await self._follow(service, user_id)
        except ServiceError as error:
            _log.warning("followed_up_later", service=service, user_id=user_id, error_code=error.code.value)

    async def has_removed(self, session: Session, method: Method) -> bool:
        """Whether this very session has removed the factor, a moment ago: whoever asks again has not heard of it."""
        await self._follow("otp", session.user_id)
        since = self._clock.now() - _REPEATED_WITHIN
        return await self._store.has_removed(session.user_id, session.id, method, since)

    async def sweep(self) -> int:
        """Follows up all that is left; answers how many events that was. A service that is away is left out."""
        return sum([await self._swept(service) for service in self._outboxes])

    async def keep_sweeping(self, every_seconds: float = _SWEEP_SECONDS) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:
                _log.exception("sweep_failed")
            await asyncio.sleep(every_seconds)

    async def purge(self) -> int:
        """Drops the notes of what was followed up long ago; how many."""
        return await self._store.purge(self._clock.now() - _KEPT_FOR)

    async def _swept(self, service: str) -> int:
        try:
            return await self._follow(service, None)
        except ServiceError as error:
            _log.warning("outbox_not_read", service=service, error_code=error.code.value)
            return 0

    async def _follow(self, service: str, user_id: UserId | None) -> int:
        outbox, after, count = self._outboxes[service], 0, 0
        while True:
            events = await outbox.pending(user_id, after, _BATCH)
            done = [event.id for event in events if await self._is_done(service, event, alone=user_id is None)]
            if done:
                with suppress(ServiceError):  # else they are found done the next time
                    await outbox.settle(done)
            count += len(done)
            if len(events) < _BATCH:
                return count
            after = events[-1].seq

    async def _is_done(self, service: str, event: OutboxEvent, *, alone: bool) -> bool:
        """`alone`: nobody waits for this one; what goes wrong with it does not keep the others from being done."""
        try:
            then = consequence_of(event, await self._store.opened_by(event))
            if then is None:
                _log.warning("event_not_known", service=service, kind=event.kind, event_id=event.id)
                return False  # a later version of this service does
            if await self._store.follow(event, then):
                FOLLOWED.labels(event.kind).inc()
        except ServiceError:
            raise
        except Exception:
            if not alone:
                raise
            _log.exception("event_not_followed", service=service, kind=event.kind, event_id=event.id)
            return False
        self._standings.forget_user(UserId(event.user_id))
        return True
