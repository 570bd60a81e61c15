"""Day and time of day as they are typed on a page, by the clock on the clinic's wall.

In the night when clocks go forward an hour does not exist; in the one when they go back an hour exists twice. Nothing
is guessed: the first is refused, and of the second both are offered, as the API takes moments with their offset.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_FORMAT = "%Y-%m-%dT%H:%M"


def moments_at(written: str, zone: str) -> tuple[datetime, ...]:
    """The moments at which the clock shows this: one, none, or two, the earlier first. Raises ValueError for what is
    no day and time."""
    wall = datetime.fromisoformat(written.strip())
    if wall.tzinfo is not None:
        raise ValueError(written)
    local = ZoneInfo(zone)
    found: list[datetime] = []
    try:
        for fold in (0, 1):
            at = wall.replace(tzinfo=local, fold=fold).astimezone(UTC)
            if at not in found and at.astimezone(local).replace(tzinfo=None) == wall:
                found.append(at)
    except OverflowError:
        raise ValueError(written) from None
    return tuple(sorted(found))


def written_at(moment: datetime, zone: str) -> str:
    """What the clock shows then, as a field for day and time holds it."""
    return moment.astimezone(ZoneInfo(zone)).strftime(_FORMAT)


def offset_at(moment: datetime, zone: str) -> str:
    """How far the clock is from UTC then: `UTC+01:00`."""
    minutes = int((moment.astimezone(ZoneInfo(zone)).utcoffset() or moment.resolution).total_seconds() // 60)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
