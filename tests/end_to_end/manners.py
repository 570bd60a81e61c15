"""The manners in which a flow of pages is played: at a desk with a mouse; on a phone's screen, in German, without
scripts; and with the keyboard alone. Each of them alone, and locally with the mouse, where all figures are wanted.

A flow says what to do by selectors, which hold in every language. A test under `in_every_manner` takes `surfer`, or
`surfers` for several people at once (conftest.py), and is played in each manner; on Compose only at the desk.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.end_to_end.browsing import PHONE


@dataclass(frozen=True)
class Manner:
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    marks: tuple[pytest.MarkDecorator, ...] = ()


_LOCAL = pytest.mark.local_only("flows in German, on a phone's screen, without scripts and by keyboard: the same pages")
_PHONE = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
MANNERS = (
    Manner("desk", marks=(pytest.mark.full,)),  # on Compose always; locally the keyboard plays the same screen
    Manner("keyboard", {"has_mouse": False}, (_LOCAL,)),
    Manner("phone-german-no-scripts", {**_PHONE, "locale": "de-DE", "java_script_enabled": False}, (_LOCAL,)),
    Manner("phone", _PHONE, (_LOCAL, pytest.mark.full)),
    Manner("german", {"locale": "de-DE"}, (_LOCAL, pytest.mark.full)),
    Manner("no-scripts", {"java_script_enabled": False}, (_LOCAL, pytest.mark.full)),
)
WITH_SCRIPTS = (*MANNERS[:2], Manner("phone-german", {**_PHONE, "locale": "de-DE"}, (_LOCAL,)))


def _played(manners: tuple[Manner, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("manner", [pytest.param(each, id=each.name, marks=each.marks) for each in manners])


in_every_manner = _played(MANNERS)
in_every_manner_with_scripts = _played(WITH_SCRIPTS)
"""For what cannot be without."""
