"""What is remembered of people: their factors, the decision made for them, and all that either depended on.

Invariant: what is remembered serves only while it is known to hold. It is for two seconds from before it was asked for;
after that while the clinic's mark shows the very epochs it was made under, of which the factors' one was read before
the factors were, so that a change in between makes it stale and never fresh. A minute ends it whatever the epochs say
(a database that was restored may repeat one), and so does the decision's own end, and any change made here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.identity.marks import HOLD, Mark, is_within
from services.identity.model import Clinic, ClinicId, Decision, Method, User, UserFactors, UserId

_LIFE = timedelta(seconds=60)
_MOST_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Subject:
    """Of whom something is remembered: all that the decision depends on and the gateway knows itself."""

    user: User
    clinic: Clinic
    methods_available: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """`factors_epoch`: of before the factors were asked for; None where it was not known. The budget of guesses in
    `factors` is of when they were asked for: no epoch counts it."""

    subject: Subject
    asked_at: datetime
    factors_epoch: int | None
    factors: UserFactors
    decision: Decision

    def is_young(self, now: datetime) -> bool:
        return is_within(HOLD, self.asked_at, now)

    def holds_by(self, mark: Mark) -> bool:
        if mark.factors_epoch is None or mark.policy_epoch is None:
            return False
        return (self.factors_epoch, self.decision.epoch) == (mark.factors_epoch, mark.policy_epoch)


class Asking:
    """A question on its way; void once what it asks about was changed here."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.is_void = False


class Remembered:
    def __init__(self) -> None:
        self._entries: dict[UserId, Entry] = {}
        self._asking: set[Asking] = set()

    def of(self, subject: Subject, now: datetime) -> Entry | None:
        """What may still hold: whoever uses it looks whether it is young or holds by the mark."""
        entry = self._entries.get(subject.user.id)
        if entry is None or entry.subject != subject or not is_within(_LIFE, entry.asked_at, now):
            return None
        if entry.decision.valid_until is not None and now >= entry.decision.valid_until:
            return None
        return entry

    @contextmanager
    def asking(self, subject: Subject) -> Iterator[Asking]:
        """The time during which the peers are asked about someone."""
        asking = Asking(subject)
        self._asking.add(asking)
        try:
            yield asking
        finally:
            self._asking.discard(asking)

    def keep(self, asking: Asking, entry: Entry) -> None:
        """Remembers the answer, unless a change was made here while it was asked for."""
        if asking.is_void:
            return
        self._entries.pop(entry.subject.user.id, None)
        if len(self._entries) >= _MOST_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[entry.subject.user.id] = entry

    def forget_user(self, user_id: UserId) -> None:
        self._entries.pop(user_id, None)
        for asking in self._asking:
            asking.is_void = asking.is_void or asking.subject.user.id == user_id

    def forget_clinic(self, clinic_id: ClinicId) -> None:
        self._entries = {
            user_id: entry for user_id, entry in self._entries.items() if entry.subject.clinic.id != clinic_id
        }
        for asking in self._asking:
            asking.is_void = asking.is_void or asking.subject.clinic.id == clinic_id
