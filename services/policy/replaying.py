"""Recorded decisions put in again: each line of a file with facts and, where it was recorded, what was decided then.

Nothing but the file is read, so that what a clinic was told can be checked wherever the record lies.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from services.policy.decision import decide
from services.policy.records import decision_to_json, facts_from_json


@dataclass(frozen=True, slots=True)
class Replayed:
    line: int
    differs: tuple[str, ...]
    """What is decided otherwise now: the names of the decision's parts, or that the line is no record."""
    sentence: str
    """What is said now."""


def replay(lines: Iterable[str]) -> Iterator[Replayed]:
    """What becomes of each record now."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _replayed(number, line)


def _replayed(number: int, line: str) -> Replayed:
    try:
        record: dict[str, Any] = json.loads(line)
        recorded: dict[str, Any] = dict(record["decision"])
        made = decision_to_json(decide(facts_from_json(record["facts"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Replayed(number, ("not a record",), "")
    differs = sorted(name for name in made.keys() | recorded.keys() if made.get(name) != recorded.get(name))
    return Replayed(number, tuple(differs), made["reason"]["sentence"])
