"""A clinic's mark: the epochs by which what is remembered of its people is known still to hold.

Both epochs are asked for side by side, once for all requests of the clinic that wait for them. A mark counts for two
seconds from before it was asked for; one older than a second is renewed while it still serves.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.clock import Clock
from services.identity.model import ClinicId
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer

HOLD = timedelta(seconds=2)
"""How old anything may be that a session without a proof is let through by (P9)."""
_RENEW_AFTER = timedelta(seconds=1)
_MOST_MARKS = 20_000


@dataclass(slots=True)
class Mark:
    """None where a peer is of a version that does not count."""

    asked_at: datetime
    factors_epoch: int | None
    policy_epoch: int | None
    is_renewed: bool = False
    """Whether that was tried; once, so that a peer that is away is not asked by every request."""


@dataclass(slots=True)
class _Read:
    asked_at: datetime
    task: asyncio.Task[Mark] | None = None


class Marks:
    def __init__(self, otp: OtpPeer, policy: PolicyPeer, clock: Clock) -> None:
        self._otp = otp
        self._policy = policy
        self._clock = clock
        self._marks: dict[ClinicId, Mark] = {}
        self._reads: dict[ClinicId, _Read] = {}

    async def of(self, clinic_id: ClinicId) -> Mark:
        """Raises what otp refused with, or else policy, where the clinic has no mark that still counts."""
        now = self._clock.now()
        mark = self._marks.get(clinic_id)
        if mark is not None and is_within(HOLD, mark.asked_at, now):
            if not mark.is_renewed and not is_within(_RENEW_AFTER, mark.asked_at, now):
                mark.is_renewed = True
                self._reading(clinic_id, now)
            return mark
        # Shielded: whoever gives up waiting does not give up for the others.
        return await asyncio.shield(self._reading(clinic_id, now))

    def last_of(self, clinic_id: ClinicId) -> Mark | None:
        """The last one, however old: factors that are asked for now are no older than it says."""
        return self._marks.get(clinic_id)

    def forget(self, clinic_id: ClinicId) -> None:
        """No mark serves any more that was asked for before now, nor one that is still on its way."""
        self._marks.pop(clinic_id, None)
        self._reads.pop(clinic_id, None)

    def _reading(self, clinic_id: ClinicId, now: datetime) -> asyncio.Task[Mark]:
        read = self._reads.get(clinic_id)
        if read is None or read.task is None or not is_within(HOLD, read.asked_at, now):
            read = self._reads[clinic_id] = _Read(now)
            read.task = asyncio.get_running_loop().create_task(self._read(clinic_id, read))
            read.task.add_done_callback(_look_at_failure)
        assert read.task is not None
        return read.task

    async def _read(self, clinic_id: ClinicId, read: _Read) -> Mark:
        try:
            factors_epoch, policy_epoch = await asyncio.gather(
                self._otp.factors_epoch(clinic_id), self._policy.epoch(clinic_id), return_exceptions=True
            )
            if isinstance(factors_epoch, BaseException):
                raise factors_epoch
            if isinstance(policy_epoch, BaseException):
                raise policy_epoch
            mark = Mark(read.asked_at, factors_epoch, policy_epoch)
            if self._reads.get(clinic_id) is read:
                self._keep(clinic_id, mark)
            return mark
        finally:
            if self._reads.get(clinic_id) is read:
                del self._reads[clinic_id]

    def _keep(self, clinic_id: ClinicId, mark: Mark) -> None:
        self._marks.pop(clinic_id, None)
        if len(self._marks) >= _MOST_MARKS:
            del self._marks[next(iter(self._marks))]
        self._marks[clinic_id] = mark


def is_within(span: timedelta, since: datetime, now: datetime) -> bool:
    """A clock that was set back makes nothing young."""
    return timedelta(0) <= now - since < span


def _look_at_failure(task: asyncio.Task[Mark]) -> None:
    """Where nobody waited for it; whoever did is told by it."""
    if not task.cancelled():
        task.exception()
