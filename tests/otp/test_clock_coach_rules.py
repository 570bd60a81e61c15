"""The clock coach's rule: what it says of every clock, what it burns, and how seldom it could be mistaken (R9, A22)."""

import base64
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.otp import totp
from services.otp.clock_coach import (
    NOTHING_REMEMBERED,
    OFFSETS,
    REMEMBERED_FOR,
    STEPS_BETWEEN_TWO,
    Advice,
    ClockMemory,
    advise,
)

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOW = datetime(2026, 11, 16, 9, 30, 10, tzinfo=UTC)
HALF_MINUTE = timedelta(seconds=30)
MINUTES = [sign * minutes * 60 for minutes in range(1, 21) for sign in (1, -1)]
HOURS = [sign * hours * 3600 for hours in range(1, 15) for sign in (1, -1)]
# RFC 4226 5.3 takes 31 bits modulo a million: no code is more likely than this.
LIKELIEST_CODE = -(-(2**31) // 1_000_000) / 2**31


def shown(skew: float, now: datetime, secret: str = SECRET) -> str:
    """What an authenticator app shows whose phone is that many seconds fast."""
    return pyotp.TOTP(secret).at(now + timedelta(seconds=skew))


def told(*sent: tuple[str, datetime], secret: str = SECRET) -> Advice:
    """The advice with the last of the codes, each wrong and sent at its moment."""
    advice = Advice(NOTHING_REMEMBERED)
    for code, at in sent:
        advice = advise(advice.memory, secret, code, at)
    return advice


@pytest.mark.parametrize("skew", [*MINUTES, *HOURS])
def test_r9_p26_a_clock_that_is_off_is_named_with_the_next_code(skew: int) -> None:
    first = told((shown(skew, NOW), NOW))
    assert first.skew_seconds is None
    assert [sighting.offset for sighting in first.memory.sightings] == [skew // 30]
    later = NOW + HALF_MINUTE
    assert told((shown(skew, NOW), NOW), (shown(skew, later), later)).skew_seconds == skew


@pytest.mark.parametrize("zone", ["+00:00", *(f"{sign}{hours:02}:00" for hours in range(1, 15) for sign in "+-")])
def test_r9_a_wrong_time_zone_is_named_with_a_minute_of_drift_in_it(zone: str) -> None:
    hours = datetime.strptime(zone, "%z").utcoffset()
    assert hours is not None
    for drift in (-60, 60):
        skew = int(hours.total_seconds()) + drift
        codes = [(shown(skew, at), at) for at in (NOW, NOW + HALF_MINUTE)]
        assert told(*codes).skew_seconds == skew


@given(
    skew=st.one_of(
        st.integers(60, 1170),
        st.integers(-1200, -90),
        st.builds(
            lambda hours, drift: hours * 3600 + drift,
            st.sampled_from([*range(-14, 0), *range(1, 15)]),
            st.integers(-60, 60),
        ),
    ),
    phase=st.floats(0, 29.9),
    typing=st.floats(0, 30),
    wait=st.floats(30, 290),
)
@settings(max_examples=300, deadline=None)
def test_r9_whenever_they_are_read_and_typed_two_codes_name_the_clock_within_a_minute(
    skew: int, phase: float, typing: float, wait: float
) -> None:
    """Each code is read at one moment and sent up to half a minute later; what is accepted is no case for it."""
    sent = []
    for read in (NOW + timedelta(seconds=phase), NOW + timedelta(seconds=phase + wait)):
        at = read + timedelta(seconds=typing)
        code = shown(skew, read)
        if totp.match(SECRET, code, at, 0) is not None:
            return
        sent.append((code, at))
    advice = told(*sent)
    assert advice.skew_seconds is not None
    assert abs(advice.skew_seconds - skew) <= 60
    assert (advice.skew_seconds > 0) == (skew > 0)


def test_r9_a_hint_needs_two_steps() -> None:
    code = shown(300, NOW)
    assert told((code, NOW), (code, NOW)).skew_seconds is None
    assert told((code, NOW), (code, NOW + HALF_MINUTE)).skew_seconds is None  # one offset off, and the same step


def test_r9_a_hint_needs_one_distance() -> None:
    later = NOW + HALF_MINUTE
    assert told((shown(300, NOW), NOW), (shown(-300, later), later)).skew_seconds is None
    assert told((shown(300, NOW), NOW), (shown(360, later), later)).skew_seconds is None
    assert told((shown(300, NOW), NOW), (shown(330, later), later)).skew_seconds == 315
    assert told((shown(300, NOW), NOW), (shown(270, later + HALF_MINUTE), later + HALF_MINUTE)).skew_seconds == 285


def test_r9_codes_over_five_minutes_apart_are_no_pair() -> None:
    first = (shown(300, NOW), NOW)
    last, late = NOW + timedelta(minutes=5), NOW + timedelta(minutes=5, microseconds=1)
    assert timedelta(minutes=5) == REMEMBERED_FOR
    assert told(first, (shown(300, last), last)).skew_seconds == 300
    assert told(first, (shown(300, late), late)).skew_seconds is None


def test_r9_beyond_what_clocks_do_it_says_nothing() -> None:
    for skew in (45 * 60, 1290, -1290, 15 * 3600, -15 * 3600, 3600 + 150, 40 * 86400):
        advice = told(*((shown(skew, at), at) for at in (NOW, NOW + HALF_MINUTE)))
        assert (advice.skew_seconds, advice.memory.sightings) == (None, []), skew


def test_a22_a_hint_burns_the_steps_it_names_and_no_other() -> None:
    step = totp.step_at(NOW)
    times = [NOW + n * HALF_MINUTE for n in range(3)]
    codes = [(shown(300, at), at) for at in times]
    assert told(codes[0]).memory.burned_steps == []
    assert told(*codes[:2]).memory.burned_steps == [step + 10, step + 11]
    assert told(*codes).memory.burned_steps == [step + 10, step + 11, step + 12]


def test_a22_burned_steps_are_kept_until_a_day_past_their_time() -> None:
    burned = totp.step_at(NOW) + 10
    memory = ClockMemory(burned_steps=[burned])
    day = timedelta(seconds=(burned + 24 * 120) * 30 - NOW.timestamp())
    assert advise(memory, SECRET, "000000", NOW + day).memory.burned_steps == [burned]
    assert advise(memory, SECRET, "000000", NOW + day + HALF_MINUTE).memory.burned_steps == []


@given(
    offset=st.sampled_from(OFFSETS),
    other=st.integers(-1, 1),
    wait=st.integers(0, 12),
    salt=st.binary(min_size=20, max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_a22_no_code_that_a_hint_has_named_is_ever_accepted(offset: int, other: int, wait: int, salt: bytes) -> None:
    secret = base64.b32encode(salt).decode()
    later = NOW + wait * HALF_MINUTE
    sent = [(shown(offset * 30, NOW, secret), NOW), (shown((offset + other) * 30, later, secret), later)]
    if any(totp.match(secret, code, at, 0) is not None for code, at in sent):
        return
    advice = told(*sent, secret=secret)
    if advice.skew_seconds is None:
        return
    assert len(advice.memory.burned_steps) == 2
    for (code, _), step in zip(sent, (totp.step_at(NOW) + offset, totp.step_at(later) + offset + other), strict=True):
        for steps in range(-totp.WINDOW_STEPS, totp.WINDOW_STEPS + 1):
            when = datetime.fromtimestamp((step + steps) * 30, UTC)
            match = totp.match(secret, code, when, 0, advice.memory.burned_steps)
            assert match is not None
            assert match.is_spent


def test_the_windows_are_those_of_the_security_design() -> None:
    drift = {offset for offset in OFFSETS if abs(offset) < 60}
    # One step beyond twenty minutes on the slow side only: a code gets older while it is typed.
    assert drift == {*range(2, 41), *range(-41, -1)}
    zones = {hour * 120 + steps for hour in range(1, 15) for steps in range(-3, 4)}
    assert {abs(offset) for offset in OFFSETS} == {*zones, *range(2, 42)}
    assert len(OFFSETS) == len(set(OFFSETS)) == 39 + 40 + 2 * len(zones)
    assert min(abs(offset) for offset in OFFSETS) > totp.WINDOW_STEPS, "what is accepted is never looked for"


def test_r9_less_than_one_random_pair_in_a_thousand_million_gets_a_hint() -> None:
    """By the offsets in the code: the first code must be right at one of them, the second at one beside it."""
    offsets = set(OFFSETS)
    pairs = sum(
        first + step in offsets for first in offsets for step in range(-STEPS_BETWEEN_TWO, STEPS_BETWEEN_TWO + 1)
    )
    assert pairs * LIKELIEST_CODE**2 < 8.2e-10 < 1e-9


def test_r9_of_a_million_codes_no_more_are_remembered_than_there_are_offsets() -> None:
    """What the calculation rests on: at one moment at most one code for each offset, and for each code few offsets."""
    codes = Counter(shown(offset * 30, NOW) for offset in OFFSETS)
    assert sum(codes.values()) == len(OFFSETS)
    for code, count in codes.items():
        assert len(told((code, NOW)).memory.sightings) == count
    unseen = [code for code in (f"{number:06d}" for number in range(0, 1_000_000, 20_011)) if code not in codes]
    assert all(told((code, NOW)) == Advice(ClockMemory([], [])) for code in unseen)


def test_p26_the_coachs_codes_are_the_rfcs() -> None:
    """RFC 6238, appendix B, five minutes before their time."""
    key = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for seconds, code in ((1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        moment = datetime.fromtimestamp(seconds - 300, UTC)
        assert 10 in [sighting.offset for sighting in told((code, moment), secret=key).memory.sightings]


def test_of_a_wrong_code_nothing_is_kept_but_where_in_time_it_would_be_right() -> None:
    code = shown(300, NOW)
    kept = repr(told((code, NOW), (shown(300, NOW + HALF_MINUTE), NOW + HALF_MINUTE)).memory)
    assert code not in kept
    assert told(("000000", NOW)).memory == ClockMemory([], [])
