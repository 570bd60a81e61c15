"""What the services say in English, told apart so that a page can say it in the reader's language.

The contract's sentences are English and carry names, numbers and days. Each form of sentence is written here once with
`{names}` for what varies; a sentence is recognised by its form, and what varies is carried over: days are said in the
reader's language, and a part that is a sentence itself is looked up again. Invariant: a sentence that is not recognised
stays whole and English.
"""

import re
from collections.abc import Callable
from datetime import date

from babel import Locale
from babel.dates import format_date

from services.identity.pages.spoken import FORMS

_PLACE = re.compile(r"\\\{(\w+)\\\}")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAY = re.compile(rf"\b(\d{{1,2}}) ({'|'.join(_MONTHS)})(?: (\d{{4}}))?")
_WITHOUT_YEAR = {"de": "d. MMMM", "es": "d 'de' MMMM"}
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


class Sentences:
    """The forms, ready to be recognised."""

    def __init__(self) -> None:
        self._whole = {form for form in FORMS if "{" not in form}
        # The longer what is fixed in a form, the surer it is.
        varied = sorted((form for form in FORMS if "{" in form), key=lambda form: -len(re.sub(r"\{\w+\}", "", form)))
        self._varied = [(re.compile(_PLACE.sub(r"(?P<\1>.+?)", re.escape(form)), re.DOTALL), form) for form in varied]

    def is_known(self, sentence: str) -> bool:
        """Whether every part of what is said has a form here."""
        return self._found(sentence) is not None or all(self._found(part) for part in _SENTENCE_END.split(sentence))

    def translated(self, sentence: str, look_up: Callable[[str], str], locale: Locale) -> str:
        """`look_up` gives the translation of a form, or the form itself."""
        said = self._said(sentence, look_up, locale)
        if said is not None:
            return said
        parts = [(self._said(part, look_up, locale), part) for part in _SENTENCE_END.split(sentence)]
        return " ".join(part if said is None else said for said, part in parts)

    def _said(self, sentence: str, look_up: Callable[[str], str], locale: Locale) -> str | None:
        found = self._found(sentence)
        if found is None:
            return None
        form, values = found
        told = look_up(form)
        for name, value in values.items():
            told = told.replace(f"{{{name}}}", self._said(value, look_up, locale) or _with_days(value, locale))
        return told

    def _found(self, sentence: str) -> tuple[str, dict[str, str]] | None:
        if sentence in self._whole:
            return sentence, {}
        for pattern, form in self._varied:
            if match := pattern.fullmatch(sentence):
                return form, match.groupdict()
        return None


def _with_days(text: str, locale: Locale) -> str:
    return _DAY.sub(lambda match: _day(match, locale), text)


def _day(match: re.Match[str], locale: Locale) -> str:
    try:
        day = date(int(match[3] or 2000), _MONTHS.index(match[2]) + 1, int(match[1]))
    except ValueError:
        return match[0]
    form = "long" if match[3] else _WITHOUT_YEAR.get(locale.language, "d MMMM")
    return str(format_date(day, form, locale=locale))
