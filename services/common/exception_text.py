"""Exceptions as they are logged: where they came from and what they are; what they say only where that cannot repeat
what somebody sent. `int("…")` and a row that PostgreSQL does not take name the very value that they did not like (A59).
"""

import traceback
from collections.abc import Iterator
from types import TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_ABOUT_CODE = (AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
"""What these say is about names, types, files and connections."""
_ABOUT_VALUES = ("22", "23")
"""Of PostgreSQL's classes of errors those that repeat values: what a column cannot hold, what breaks a constraint."""


def as_text(exc_info: ExcInfo) -> str:
    """The traceback of the exception, and of those that it came from."""
    return "".join(_lines(exc_info[1], set())).rstrip()


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "\nthen\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    yield f"{name}{_said(error)}\n"
    for one in getattr(error, "exceptions", ()):  # of a group
        yield "\nof these\n\n"
        yield from _lines(one, seen)


def _said(error: BaseException) -> str:
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return f" {sqlstate}" if sqlstate.startswith(_ABOUT_VALUES) else f" {sqlstate}: {error}"
    return f": {error}" if isinstance(error, _ABOUT_CODE) else ""
