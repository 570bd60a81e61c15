"""Medians with their spread, and the ratios of phases that stood next to each other."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.load import Phase


@dataclass
class Series:
    """One figure beside its floor: phases in the order they ran, ours and the floor's by turns."""

    name: str
    ours: list[Phase] = field(default_factory=list)
    floor: list[Phase] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    aside: list[Phase] = field(default_factory=list)
    """Another measure taken in each round, told but held against nothing."""

    def ratios(self) -> list[float]:
        """Each of our phases over the floor's phase before it and over the one after it."""
        pairs = [
            *zip(self.ours, self.floor, strict=True),
            *zip(self.ours[1:], self.floor[:-1], strict=True),
        ]
        return [ours.rate / floor.rate for ours, floor in pairs]


def lines(series: Series, unit: str, floor_name: str, aim: float | None = None) -> list[str]:
    """What the bench says of one series."""
    ratios = series.ratios()
    median = statistics.median(ratios)
    judged = "" if aim is None else f"   {'reaches' if median >= aim else 'MISSES'} the aim of {aim}"
    return [
        f"{series.name}",
        f"  {unit:<34} {spread([p.rate for p in series.ours])} a second"
        f"   p50 {_median(series.ours, 0.5):.1f} ms, p99 {_median(series.ours, 0.99):.1f} ms",
        f"  {floor_name:<34} {spread([p.rate for p in series.floor])} a second"
        f"   p50 {_median(series.floor, 0.5):.1f} ms, p99 {_median(series.floor, 0.99):.1f} ms",
        f"  {'ratio':<34} {spread(ratios, 3)}{judged}",
        f"  {'CPU µs a request':<34} {_cpu(series.cpu)}",
    ]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most in brackets."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f} … {max(values):.{digits}f}]"


def median_ms(phases: Sequence[Phase]) -> float:
    """The median of the phases' medians."""
    return _median(phases, 0.5)


def _median(phases: Sequence[Phase], share: float) -> float:
    return statistics.median(phase.percentile(share) for phase in phases)


def _cpu(rounds: Sequence[Mapping[str, float]]) -> str:
    names = sorted({name for spent in rounds for name in spent})
    medians = {name: statistics.median(spent.get(name, 0.0) for spent in rounds) for name in names}
    told = sorted(medians.items(), key=lambda item: (item[0] in ("bench", "others"), -item[1]))
    return ", ".join(f"{name} {value:,.0f}" for name, value in told if value >= 10)
