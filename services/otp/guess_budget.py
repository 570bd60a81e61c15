"""How many wrong codes an account may still try, over all its factors, logins and endpoints.

Three numbers, from the settings (`GuessLimits`): in any quarter of an hour or so, in any 24 hours, and the one that
locks. A success clears nothing of the first two; it only takes its own login's wrong codes, the owner's typos, out of
the third.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

DAY = timedelta(hours=24)

_RETRY_WHEN_LOCKED_SECONDS = 86400  # waiting does not open a lock; this only keeps clients from asking often


@dataclass(frozen=True, slots=True)
class GuessLimits:
    """How many wrong codes in which time."""

    most_in_window: int = 5
    window: timedelta = timedelta(minutes=15)
    most_in_day: int = 20
    locked_at_count: int = 50
    lock_window: timedelta = timedelta(days=30)


DEFAULT_LIMITS = GuessLimits()


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
    limits: GuessLimits = DEFAULT_LIMITS

    def standing(self, now: datetime) -> Standing:
        if self.locked_at is not None:
            return Standing(0, _RETRY_WHEN_LOCKED_SECONDS, is_locked=True)
        if not self.guesses:
            return Standing(self.limits.most_in_window, 0, is_locked=False)
        limits = self.limits
        in_window = _times_within(self.guesses, now, limits.window)
        in_day = _times_within(self.guesses, now, DAY)
        left = min(limits.most_in_window - len(in_window), limits.most_in_day - len(in_day), self._left_to_lock(now))
        if left > 0:
            return Standing(left, 0, is_locked=False)
        opens_at = now
        if len(in_window) >= limits.most_in_window:
            opens_at = max(opens_at, in_window[-limits.most_in_window] + limits.window)
        if len(in_day) >= limits.most_in_day:
            opens_at = max(opens_at, in_day[-limits.most_in_day] + DAY)
        if self._left_to_lock(now) <= 0:
            # Counted under milder settings, so nothing has locked it: it opens as the oldest of them are over.
            blocking = [guess.at for guess in self.guesses if not guess.is_forgiven]
            opens_at = max(opens_at, sorted(blocking)[-limits.locked_at_count] + limits.lock_window)
        return Standing(0, max(1, ceil((opens_at - now).total_seconds())), is_locked=False)

    def after_wrong(self, now: datetime, login_id: str) -> "GuessBudget":
        """The budget with one more wrong guess, locked where that was one too many."""
        kept = [guess for guess in self.guesses if self._still_counts(guess, now)]
        counted = replace(self, guesses=[*kept, Guess(now, login_id)])
        if counted.locked_at is None and counted._left_to_lock(now) <= 0:
            return replace(counted, locked_at=now)
        return counted

    def after_success(self, login_id: str) -> "GuessBudget":
        """The budget once the login has succeeded: its wrong guesses no longer count towards the lock."""
        if not any(guess.login_id == login_id and not guess.is_forgiven for guess in self.guesses):
            return self
        forgiven = [replace(guess, is_forgiven=True) if guess.login_id == login_id else guess for guess in self.guesses]
        return replace(self, guesses=forgiven)

    def reset(self) -> "GuessBudget":
        """Full, and open."""
        return GuessBudget(limits=self.limits)

    def _left_to_lock(self, now: datetime) -> int:
        since = self.limits.lock_window
        count = sum(not guess.is_forgiven and now - guess.at < since for guess in self.guesses)
        return self.limits.locked_at_count - count

    def _still_counts(self, guess: Guess, now: datetime) -> bool:
        return now - guess.at < (DAY if guess.is_forgiven else self.limits.lock_window)


def _times_within(guesses: Iterable[Guess], now: datetime, window: timedelta) -> list[datetime]:
    # A guess from the future (the clock went back) counts: the stricter reading.
    return sorted(guess.at for guess in guesses if now - guess.at < window)
