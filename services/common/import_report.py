"""A file that is imported line by line, and what is said of each line: one JSON line each, and the counts at the end.

What a line holds is never repeated, save for whose it is.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum

import typer

_MOST_BYTES = 65_536


class Outcome(StrEnum):
    MADE = "made"
    WOULD_BE_MADE = "would be made"
    THERE = "already there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a line of the file."""

    line: int
    outcome: Outcome
    email: str = ""
    reason: str = ""


class ImportReport:
    """Prints results as they come."""

    def __init__(self) -> None:
        self._counts = Counter[Outcome]()

    def add(self, result: Result) -> None:
        self._counts[result.outcome] += 1
        told = {"line": result.line, "email": result.email, "result": result.outcome.value, "reason": result.reason}
        typer.echo(json.dumps({name: value for name, value in told.items() if value != ""}, ensure_ascii=False))

    def end(self, *, is_applied: bool) -> None:
        """The counts. A line that was refused makes the command end with 1."""
        made = Outcome.MADE if is_applied else Outcome.WOULD_BE_MADE
        counts = {outcome.name.lower(): self._counts[outcome] for outcome in (made, Outcome.THERE, Outcome.REFUSED)}
        typer.echo(json.dumps({"applied": is_applied, **counts}))
        if self._counts[Outcome.REFUSED]:
            raise typer.Exit(1)


def lines_of(path: str) -> Iterator[tuple[int, str | None]]:
    """The lines that hold anything, with their numbers; `-` is standard input. None: one that is no UTF-8, or longer
    than anything that can be imported."""
    try:
        opened = nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        typer.echo(f"{path} cannot be read ({error.strerror}).", err=True)
        raise typer.Exit(1) from None
    with opened as file:
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip()
            except UnicodeDecodeError:
                yield number, None
                continue
            if text:
                yield number, text if len(raw) <= _MOST_BYTES else None
