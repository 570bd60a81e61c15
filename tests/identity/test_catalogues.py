"""The catalogues: every text of the pages is in each, translated, with the same to be filled in, and nothing else."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from services.identity.pages.speech.languages import ENGLISH, LANGUAGES, Languages

ROOT = Path(__file__).parent.parent.parent
_FILLED = re.compile(r"%\(\w+\)s|\{\w+\}|</?\w+[^>]*>")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What `make messages` would collect now."""
    path = tmp_path_factory.mktemp("messages") / "all.pot"
    command = [sys.executable, "-m", "babel.messages.frontend", "--quiet", "extract", "-F", "pyproject.toml"]
    keywords = ["-k", "marked", "-k", "say", "-k", "say_many:1,2"]
    subprocess.run([*command, *keywords, "-o", str(path), "."], cwd=ROOT, check=True, timeout=60)
    with path.open("rb") as file:
        return read_po(file)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != ENGLISH])
def test_every_text_of_the_pages_is_translated(collected: Catalog, language: str) -> None:
    with (ROOT / f"services/identity/pages/speech/locales/{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    wanted, found = _by_text(collected), _by_text(catalogue)
    assert sorted(wanted.keys() - found.keys()) == [], "make messages, and translate what is new"
    assert sorted(found.keys() - wanted.keys()) == [], "make messages: nobody says these any more"
    for message in found.values():
        said, translated = _forms(message.id), _forms(message.string)
        assert all(translated), message.id
        assert not message.fuzzy, message.id
        assert len(said) == 1 or len(translated) == catalogue.num_plurals, message.id
        for form in translated[-1:]:
            assert set(_FILLED.findall(form)) == set(_FILLED.findall(said[-1])), (message.id, form)


def test_a_browser_is_answered_in_the_language_that_it_asks_for_first() -> None:
    languages = Languages()
    for header, spoken in (
        ("de-CH,de;q=0.9,en;q=0.8", "de"),
        ("en;q=0.5, fr", "fr"),
        ("pt-BR, es;q=0.7, en;q=0.3", "es"),
        ("nl;q=0", "en"),
        ("nl;q=x, de;q=0.1", "de"),
        ("", "en"),
        ("*", "en"),
        ("ja," * 30 + "de", "en"),
    ):
        assert languages.asked_for(header).language == spoken, header


def test_days_are_written_as_the_language_writes_them() -> None:
    speeches, first = Languages().speeches, datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    for language, words in (
        ("en", "1 March 2026"),
        ("de", "1. März 2026"),
        ("fr", "1er mars 2026"),
        ("es", "1 de marzo de 2026"),
        ("nl", "1 maart 2026"),
    ):
        assert speeches[language].day(first, "Europe/Paris") == words
        assert speeches[language].moment(first, "Europe/Paris") == f"{words}, 10:30"
    said = speeches["fr"].heard(
        "Harbour Clinic has required a code at sign-in since 1 March, and you have set up backup codes."
    )
    assert "Depuis le 1er mars, Harbour Clinic" in said
    assert speeches["fr"].day(first.replace(day=11), "Europe/Paris") == "11 mars 2026"


def _by_text(catalogue: Catalog) -> dict[str, Message]:
    return {_forms(message.id)[0]: message for message in catalogue if message.id}


def _forms(text: "str | tuple[str, ...] | list[str] | None") -> list[str]:
    return [text] if isinstance(text, str) else list(text or ())
