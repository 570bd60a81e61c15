"""How far a clinic has come with two-factor authentication, drawn: two bars in the units of an SVG, and the numbers."""

from dataclasses import dataclass

from services.identity.adoption import Counts

WIDTH = 400


@dataclass(frozen=True, slots=True)
class Picture:
    """Shares of the bar's width; whoever there is at all can be seen."""

    total: int
    enrolled: int
    missing: int
    exempt: int
    enrolled_percent: int
    enrolled_width: int
    exempt_width: int


def picture_of(counts: Counts) -> Picture:
    return Picture(
        total=counts.total,
        enrolled=counts.enrolled,
        missing=counts.missing,
        exempt=counts.exempt,
        enrolled_percent=counts.enrolled * 100 // counts.total if counts.total else 0,
        enrolled_width=_share(counts.enrolled, counts.total),
        exempt_width=_share(counts.exempt, counts.total),
    )


def _share(some: int, total: int) -> int:
    """Nothing only for none, all only for all."""
    if some <= 0 or total <= 0:
        return 0
    return WIDTH if some >= total else min(max(round(some * WIDTH / total), 4), WIDTH - 4)
