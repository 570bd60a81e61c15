"""The languages of the pages: which one a browser asks for, and how a text, a time or a length of time is said in it.

English is written in the code and the templates; the others are gettext catalogues beside this file, read once at the
start. What has no translation is said in English. Invariant: only texts that somebody who wrote them marked (`marked`,
`say`, `say_many`, and `_` in templates) are looked up.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from services.identity.pages.speech.sentences import Sentences, written_day

ENGLISH = "en"
LANGUAGES = (ENGLISH, "de", "fr", "es", "nl")
_FOLDER = Path(__file__).with_name("locales")
_LOCALES = {ENGLISH: "en_GB"}  # days before months
_MOST_ASKED = 20


@dataclass(frozen=True, slots=True)
class Speech:
    """One language, as it is spoken."""

    language: str
    catalogue: NullTranslations
    sentences: Sentences

    def say(self, message: str, **values: object) -> str:
        """The text, with `%(name)s` filled in."""
        found = self.catalogue.gettext(message) if message else ""
        return found % values if values else found

    def say_many(self, one: str, many: str, count: int, **values: object) -> str:
        """The text for so many; `%(count)s` is known."""
        return self.catalogue.ngettext(one, many, count) % {"count": count, **values}

    def heard(self, sentence: str) -> str:
        """What a service says in English, in this language; unknown sentences stay as they are."""
        if self.language == ENGLISH or not sentence:
            return sentence
        return self.sentences.translated(sentence, self.catalogue.gettext, self._locale)

    def moment(self, at: datetime, zone: str) -> str:
        """Day and time of day in a time zone: "1 March 2026, 09:30"."""
        there = at.astimezone(ZoneInfo(zone))
        return f"{written_day(there, 'long', self._locale)}, {there:%H:%M}"

    def day(self, at: datetime, zone: str) -> str:
        return written_day(at.astimezone(ZoneInfo(zone)), "long", self._locale)

    def span(self, seconds: int) -> str:
        """How long, roughly, rounded up."""
        if seconds < 90:
            return self.say_many("%(count)s second", "%(count)s seconds", seconds)
        minutes = -(-seconds // 60)
        if minutes < 90:
            return self.say_many("%(count)s minute", "%(count)s minutes", minutes)
        return self.say_many("%(count)s hour", "%(count)s hours", -(-minutes // 60))

    @property
    def _locale(self) -> Locale:
        return Locale.parse(_LOCALES.get(self.language, self.language))


class Languages:
    """All of them."""

    def __init__(self) -> None:
        sentences = Sentences()
        self.speeches: Mapping[str, Speech] = {
            language: Speech(language, _catalogue(language), sentences) for language in LANGUAGES
        }

    def asked_for(self, accept_language: str) -> Speech:
        """By a browser's `Accept-Language` (RFC 9110, 12.5.4); English where it asks for none of ours."""
        asked = []
        for place, part in enumerate(accept_language.split(",")[:_MOST_ASKED]):
            tag, _, weight = part.partition(";")
            asked.append((-_weight(weight), place, tag.strip().lower().split("-")[0]))
        for order, _, language in sorted(asked):
            if order < 0 and language in self.speeches:
                return self.speeches[language]
        return self.speeches[ENGLISH]


def _weight(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0


@cache
def _catalogue(language: str) -> NullTranslations:
    """Read once a process: it takes half a second of processor."""
    path = _FOLDER / f"{language}.po"
    if language == ENGLISH or not path.exists():
        return NullTranslations()
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)
