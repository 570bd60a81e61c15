"""Countries as people write them: by name in their language or in English, or by their two letters (ISO 3166-1)."""

import re
from collections.abc import Sequence
from functools import cache

from babel import Locale

from services.identity.pages.speech.languages import ENGLISH, Speech
from services.identity.particulars import is_country

_MOST_BY_NAME = 20
_BETWEEN = re.compile(r"[,;\n]+")


def country_name(speech: Speech, code: str) -> str:
    return str(Locale.parse(speech.language).territories.get(code, code))


def written_countries(speech: Speech, codes: Sequence[str]) -> str:
    """By name; where they are many, by their letters, so that the list stays one that can be read."""
    return ", ".join([country_name(speech, code) for code in codes] if len(codes) <= _MOST_BY_NAME else codes)


def countries_in(speech: Speech, written: str) -> tuple[list[str], str]:
    """The codes of what is written, and the first that is none, or ''."""
    found: list[str] = []
    for part in _BETWEEN.split(written):
        name = " ".join(part.split())
        if not name:
            continue
        code = name.upper() if is_country(name.upper()) else _codes(speech.language).get(name.casefold())
        code = code or _codes(ENGLISH).get(name.casefold())
        if code is None:
            return found, name
        if code not in found:
            found.append(code)
    return found, ""


@cache
def _codes(language: str) -> dict[str, str]:
    names = Locale.parse(language).territories
    return {str(name).casefold(): code for code, name in names.items() if is_country(code)}
