"""The help: it quotes buttons by the words that stand on them, and every page leads to the fitting part of it."""

import html
import re
from pathlib import Path

import pytest
from jinja2.ext import babel_extract

from services.identity.pages import rendering
from services.identity.pages.help_topics import TOPICS, help_for
from tests.identity.people import Person, Stack
from tests.identity.test_forms import Visitor

_TEMPLATES = Path(rendering.__file__).with_name("templates")


def _messages(path: Path) -> set[str]:
    with path.open("rb") as file:
        found = babel_extract(file, ("_", "gettext", "ngettext"), [], {"trimmed": "true", "silent": "false"})
        texts = [text for _, _, message, _ in found for text in (message if isinstance(message, tuple) else (message,))]
    return {text for text in texts if text}


def _on_pages() -> set[str]:
    """What stands on buttons, links, boxes and headings of every page but the help's own."""
    return {text for path in _TEMPLATES.glob("*.html") if not path.stem.startswith("help") for text in _messages(path)}


@pytest.mark.parametrize("topic", ["", *TOPICS])
async def test_what_the_help_quotes_stands_on_a_page(stack: Stack, topic: str) -> None:
    page = await Visitor(stack).http.get(f"/help/{topic}".rstrip("/"))
    assert page.status_code == 200
    quoted = [html.unescape(words) for words in re.findall(r"<q>([^<]*)</q>", page.text)]
    assert bool(quoted) is bool(topic)
    for words in quoted:
        assert words in _on_pages(), words


def test_help_quotes_nothing_by_hand() -> None:
    for path in _TEMPLATES.glob("help*.html"):
        assert not re.search("[\u201c\u201d\u201e\u00ab\u00bb]", path.read_text()), path.name


async def test_the_help_is_five_short_pages_that_lead_to_each_other(stack: Stack) -> None:
    visitor = Visitor(stack)
    assert len(TOPICS) == 5
    for topic in TOPICS:
        text = (await visitor.http.get(f"/help/{topic}")).text
        assert len(re.sub(r"<[^>]+>", " ", text).split()) < 450, topic
        for other in set(TOPICS) - {topic}:
            assert f'href="/help/{other}"' in text
    assert (await visitor.http.get("/help/nothing")).status_code == 404
    assert (await visitor.http.get("/help/..%2Flayout")).status_code == 404


@pytest.mark.parametrize(
    ("path", "fitting"),
    [
        ("/", "/help"),
        ("/c/harbour", "/help"),
        ("/activate/x", "/help/set-up"),
        ("/set-up/totp/enr_1", "/help/set-up"),
        ("/code", "/help/questions"),
        ("/code/lost", "/help/lost-phone"),
        ("/me", "/help/questions"),
        ("/clinic/security", "/help/require"),
        ("/users/usr_1", "/help/administrators"),
        ("/audit", "/help/administrators"),
        ("/usersomething", "/help"),
    ],
)
def test_each_page_leads_to_the_fitting_help(path: str, fitting: str) -> None:
    assert help_for(path) == fitting


async def test_the_foot_of_a_page_leads_to_the_help(stack: Stack, person: Person) -> None:
    visitor = Visitor(stack)
    await visitor.sign_in(person)
    for path in ("/me", "/set-up", f"/c/{person.clinic.slug}"):
        assert f'href="{help_for(path)}">Help</a>' in (await visitor.http.get(path)).text
