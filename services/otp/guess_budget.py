"""How many wrong codes an account may still try, over all its factors, logins and endpoints.

The numbers are security.md's: 5 in any 15 minutes, 20 in any 24 hours, locked at 50 in 30 days. A success clears
nothing of the first two; it only takes its own login's wrong codes, the owner's typos, out of the third.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

SHORT_WINDOW = timedelta(minutes=15)
MOST_IN_SHORT_WINDOW = 5
DAY_WINDOW = timedelta(hours=24)
MOST_IN_DAY_WINDOW = 20
LOCK_WINDOW = timedelta(days=30)
LOCKED_AT_COUNT = 50

_RETRY_WHEN_LOCKED_SECONDS = 86400  # waiting does not open a lock; this only keeps clients from asking often


@dataclass(frozen=True, slots=True)
class Guess:
    """A wrong code. `is_forgiven` once the login it was typed in has succeeded."""

    at: datetime
    login_id: str
    is_forgiven: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What the budget allows at a moment."""

    attempts_left: int
    retry_after: int
    is_locked: bool

    @property
    def is_spent(self) -> bool:
        return self.attempts_left == 0


@dataclass(frozen=True, slots=True)
class GuessBudget:
    """The wrong guesses that still count, oldest first, and the lock, which no waiting opens."""

    guesses: Sequence[Guess] = ()
    locked_at: datetime | None = None

    def standing(self, now: datetime) -> Standing:
        if self.locked_at is not None:
            return Standing(0, _RETRY_WHEN_LOCKED_SECONDS, is_locked=True)
        if not self.guesses:
            return Standing(MOST_IN_SHORT_WINDOW, 0, is_locked=False)
        in_short = _times_within(self.guesses, now, SHORT_WINDOW)
        in_day = _times_within(self.guesses, now, DAY_WINDOW)
        left = min(MOST_IN_SHORT_WINDOW - len(in_short), MOST_IN_DAY_WINDOW - len(in_day), self._left_to_lock(now))
        if left > 0:
            return Standing(left, 0, is_locked=False)
        opens_at = now
        if len(in_short) >= MOST_IN_SHORT_WINDOW:
            opens_at = max(opens_at, in_short[-MOST_IN_SHORT_WINDOW] + SHORT_WINDOW)
        if len(in_day) >= MOST_IN_DAY_WINDOW:
            opens_at = max(opens_at, in_day[-MOST_IN_DAY_WINDOW] + DAY_WINDOW)
        return Standing(0, max(1, ceil((opens_at - now).total_seconds())), is_locked=False)

    def after_wrong(self, now: datetime, login_id: str) -> "GuessBudget":
        """The budget with one more wrong guess, locked where that was one too many."""
        kept = [guess for guess in self.guesses if _still_counts(guess, now)]
        counted = GuessBudget([*kept, Guess(now, login_id)], self.locked_at)
        if counted.locked_at is None and counted._left_to_lock(now) <= 0:
            return replace(counted, locked_at=now)
        return counted

    def after_success(self, login_id: str) -> "GuessBudget":
        """The budget once the login has succeeded: its wrong guesses no longer count towards the lock."""
        if not any(guess.login_id == login_id and not guess.is_forgiven for guess in self.guesses):
            return self
        forgiven = [replace(guess, is_forgiven=True) if guess.login_id == login_id else guess for guess in self.guesses]
        return replace(self, guesses=forgiven)

    def _left_to_lock(self, now: datetime) -> int:
        return LOCKED_AT_COUNT - sum(not guess.is_forgiven and now - guess.at < LOCK_WINDOW for guess in self.guesses)


def _times_within(guesses: Iterable[Guess], now: datetime, window: timedelta) -> list[datetime]:
    # A guess from the future (the clock went back) counts: the stricter reading.
    return sorted(guess.at for guess in guesses if now - guess.at < window)


def _still_counts(guess: Guess, now: datetime) -> bool:
    return now - guess.at < (DAY_WINDOW if guess.is_forgiven else LOCK_WINDOW)
