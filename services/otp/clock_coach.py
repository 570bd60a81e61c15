"""Tells a phone whose clock is wrong from a code that is wrong (R9): by how much, and which way.

Only for codes that were refused, and it never makes one right. A hint needs two codes of different steps that lie
equally far off within minutes; and as it tells whoever sent them that both will be right at their time, it burns their
steps: they are refused then (A22). Of a wrong code nothing is kept but where in time it would have been right.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.otp.totp import STEP_SECONDS, WINDOW_STEPS, generator_of, step_at

FARTHEST_STEPS = 40  # twenty minutes: as far as clocks drift that nobody sets
MOST_HOURS = 14  # no inhabited place's time lies farther from UTC
STEPS_AROUND_AN_HOUR = 3
STEPS_BETWEEN_TWO = 1  # two codes of one phone: each is read and typed at another moment of its step
REMEMBERED_FOR = timedelta(minutes=5)
_STEPS_AN_HOUR = 3600 // STEP_SECONDS
_BURNED_KEPT_STEPS = 24 * _STEPS_AN_HOUR  # past their time by a day: a clock that is set back revives none


def _offsets() -> tuple[int, ...]:
    drift = range(WINDOW_STEPS + 1, FARTHEST_STEPS + 1)
    around = range(-STEPS_AROUND_AN_HOUR, STEPS_AROUND_AN_HOUR + 1)
    zones = [hour * _STEPS_AN_HOUR + steps for hour in range(1, MOST_HOURS + 1) for steps in around]
    either_way = [sign * offset for offset in (*drift, *zones) for sign in (1, -1)]
    # Read on a phone twenty minutes slow, a code is often one step older when it has been typed.
    return tuple(sorted([*either_way, -FARTHEST_STEPS - 1]))


OFFSETS = _offsets()
"""How many steps away a wrong code is looked for; positive is a phone that is fast."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A wrong code, sent at that moment, is right at that step, so many steps away."""

    at: datetime
    step: int
    offset: int


@dataclass(frozen=True, slots=True)
class ClockMemory:
    """What is remembered for one secret."""

    sightings: Sequence[Sighting] = ()
    burned_steps: Sequence[int] = ()


NOTHING_REMEMBERED = ClockMemory()


@dataclass(frozen=True, slots=True)
class Advice:
    """What to remember from now on; `skew_seconds` where there is a hint, positive for a phone that is fast."""

    memory: ClockMemory
    skew_seconds: int | None = None


def advise(memory: ClockMemory, secret: str, code: str, now: datetime) -> Advice:
    """What a wrong code, with those before it, says of the phone's clock."""
    current = step_at(now)
    recent = [sighting for sighting in memory.sightings if abs(now - sighting.at) <= REMEMBERED_FOR]
    burned = {step for step in memory.burned_steps if step >= current - _BURNED_KEPT_STEPS}
    seen = [Sighting(now, current + offset, offset) for offset in _offsets_of(secret, code, current)]
    skew: int | None = None
    for one in seen:
        alike = [other for other in recent if _is_one_clock(one, other)]
        if alike:
            skew = (one.offset + alike[-1].offset) * STEP_SECONDS // 2
            burned.update([one.step, *(other.step for other in alike)])
    return Advice(ClockMemory([*recent, *seen], sorted(burned)), skew)


def _is_one_clock(one: Sighting, other: Sighting) -> bool:
    return one.step != other.step and abs(one.offset - other.offset) <= STEPS_BETWEEN_TWO


def _offsets_of(secret: str, code: str, current: int) -> list[int]:
    """Where this code is right. Every offset is computed and compared, whatever is found."""
    generator = generator_of(secret)
    key, algorithm, wanted = generator.byte_secret(), generator.digest().name, code.encode()
    return [offset for offset in OFFSETS if hmac.compare_digest(_code_at(key, algorithm, current + offset), wanted)]


def _code_at(key: bytes, algorithm: str, step: int) -> bytes:
    """RFC 4226 5.3, without what pyotp does around it: one wrong code takes hundreds of these."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), algorithm)
    start = mac[-1] & 0x0F
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFFFFFF
    return b"%06d" % (number % 1_000_000)
