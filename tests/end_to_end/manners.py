"""The manners in which a flow of pages is played: at a desk with a mouse; on a phone's screen, in German, without
scripts; and with the keyboard alone. Where all figures are wanted in each of them and in parts of them, else locally as
on that phone, what staff do by keyboard too, and on Compose at the desk.

A flow says what to do by selectors, which hold in every language. A test under `in_every_manner` takes `surfer`, or
`surfers` for several people at once (conftest.py).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.end_to_end.browsing import PHONE


@dataclass(frozen=True)
class Manner:
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    marks: tuple[pytest.MarkDecorator, ...] = ()


_FULL = pytest.mark.full
_LOCAL = pytest.mark.local_only("flows in German, on a phone's screen, without scripts and by keyboard: the same pages")
_PHONE = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
_DESK = Manner("desk", marks=(_FULL,))  # on Compose always
_KEYBOARD = Manner("keyboard", {"has_mouse": False}, (_LOCAL,))
_KEYBOARD_IN_FULL = replace(_KEYBOARD, marks=(_LOCAL, _FULL))
_OTHERS = (
    Manner("phone-german-no-scripts", {**_PHONE, "locale": "de-DE", "java_script_enabled": False}, (_LOCAL,)),
    Manner("phone", _PHONE, (_LOCAL, _FULL)),
    Manner("german", {"locale": "de-DE"}, (_LOCAL, _FULL)),
    Manner("no-scripts", {"java_script_enabled": False}, (_LOCAL, _FULL)),
)
_PHONE_WITH_SCRIPTS = Manner("phone-german", {**_PHONE, "locale": "de-DE"}, (_LOCAL,))


def _played(*manners: Manner) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("manner", [pytest.param(each, id=each.name, marks=each.marks) for each in manners])


in_every_manner = _played(_DESK, _KEYBOARD_IN_FULL, *_OTHERS)
in_every_manner_of_staff = _played(_DESK, _KEYBOARD, *_OTHERS)
in_every_manner_with_scripts = _played(_DESK, _KEYBOARD_IN_FULL, _PHONE_WITH_SCRIPTS)
"""For what cannot be without."""
