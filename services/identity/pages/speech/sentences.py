"""What the services say in English, told apart so that a page can say it in the reader's language.

The contract's sentences are English and carry names, numbers and days. Each form of sentence is written once, in
`spoken`, with `{names}` for what varies; a sentence is recognised by its form, and what varies is carried over: days
are said in the reader's language, and a part that is said in words itself is looked up again. Invariant: a sentence
that is not recognised stays whole and English.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from babel import Locale
from babel.dates import format_date

from services.identity.pages.speech.spoken import FORMS, PARTS

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAY = re.compile(rf"(\d{{1,2}}) ({'|'.join(_MONTHS)})(?: (\d{{4}}))?")
_WITHOUT_YEAR = {"de": "d. MMMM", "es": "d 'de' MMMM"}
_SHAPES: Mapping[str, str] = {
    "day": rf"\d{{1,2}} (?:{'|'.join(_MONTHS)})(?: \d{{4}})?",
    "time": r"\d\d:\d\d",
    "count": r"\d+",
    "zone": r"[A-Za-z0-9/_+-]+",
    "address": r"[0-9a-fA-F.:]+",
    **dict.fromkeys(("integration", "one", "two", "three"), r"[a-z0-9._-]+"),
    **dict.fromkeys(("program", "system"), r"[A-Za-z ]+"),
}
"""What some names can stand for; the others for anything."""
_NAME = re.compile(r"\{(\w+)\}")
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")
_MOST_SENTENCES = 12


@dataclass(frozen=True, slots=True)
class _Said:
    """A text whose form is known."""

    form: str
    values: "Mapping[str, str | _Said]"


class Sentences:
    """The forms, ready to be recognised."""

    def __init__(self) -> None:
        self._whole = frozenset(form for form in FORMS if "{" not in form)
        self._varied = _ready(form for form in FORMS if "{" in form)
        self._parts = {name: _ready(forms) for name, forms in PARTS.items()}

    def is_known(self, text: str) -> bool:
        """Whether all that is said has a form."""
        return self._all_said(_SENTENCE_END.split(text)) is not None

    def translated(self, text: str, look_up: Callable[[str], str], locale: Locale) -> str:
        """`look_up` gives the translation of a form, or the form itself."""
        parts = _SENTENCE_END.split(text)
        said = self._all_said(parts) or [self._said(part) or part for part in parts]
        return " ".join(_told(one, look_up, locale) for one in said)

    def _all_said(self, parts: list[str]) -> "list[str | _Said] | None":
        """The forms of these pieces, some of which belong together: a name may hold what looks like an end."""
        if not parts:
            return []
        if len(parts) > _MOST_SENTENCES:
            return None
        for end in range(1, len(parts) + 1):
            said = self._said(" ".join(parts[:end]))
            if said is not None and (others := self._all_said(parts[end:])) is not None:
                return [said, *others]
        return None

    def _said(self, sentence: str) -> _Said | None:
        if sentence in self._whole:
            return _Said(sentence, {})
        return self._said_by(self._varied, sentence)

    def _said_by(self, forms: "list[tuple[re.Pattern[str], str]]", text: str) -> _Said | None:
        for pattern, form in forms:
            match = pattern.fullmatch(text)
            if match is None:
                continue
            values = {name: self._value(name, value) for name, value in match.groupdict().items()}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(values):
                return _Said(form, known)
        return None

    def _value(self, name: str, value: str) -> str | _Said | None:
        """None where it should have a form and has none."""
        part = _part(name)
        return value if part is None else self._said_by(self._parts[part], value)


def _part(name: str) -> str | None:
    """Which part a name stands for: `factors_instead` is said like `factors`."""
    return next((part for part in (name, name.partition("_")[0]) if part in PARTS), None)


def _ready(forms: Iterable[str]) -> list[tuple[re.Pattern[str], str]]:
    """The longer what is fixed in a form, the surer it is."""
    ordered = sorted(forms, key=lambda form: -len(_NAME.sub("", form)))
    return [(_pattern(form), form) for form in ordered]


def _pattern(form: str) -> re.Pattern[str]:
    seen: set[str] = set()
    made = ""
    for place, text in enumerate(_NAME.split(form)):
        if place % 2 == 0:
            made += re.escape(text)
        elif text in seen:
            made += f"(?P={text})"
        else:
            seen.add(text)
            made += f"(?P<{text}>{_SHAPES.get(text, '.+?')})"
    return re.compile(made, re.DOTALL)


def _told(said: str | _Said, look_up: Callable[[str], str], locale: Locale) -> str:
    if isinstance(said, str):
        return said

    def put(match: re.Match[str]) -> str:
        value = said.values.get(match[1], match[0])
        return _day(value, locale) if match[1] == "day" and isinstance(value, str) else _told(value, look_up, locale)

    form = said.form if said.form == "{named}" else look_up(said.form)
    return _NAME.sub(put, form)


def _day(words: str, locale: Locale) -> str:
    match = _DAY.fullmatch(words)
    if match is None:
        return words
    try:
        day = date(int(match[3] or 2000), _MONTHS.index(match[2]) + 1, int(match[1]))
    except ValueError:
        return words
    return written_day(day, "long" if match[3] else _WITHOUT_YEAR.get(locale.language, "d MMMM"), locale)


def written_day(day: date, form: str, locale: Locale) -> str:
    """As the language writes it; in French the first of a month is "1er", which Unicode's patterns leave out."""
    words = str(format_date(day, form, locale=locale))
    return f"1er{words[1:]}" if locale.language == "fr" and day.day == 1 else words
