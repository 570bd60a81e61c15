"""Which of the help pages fits which page."""

from collections.abc import Mapping

from services.identity.pages.speech.marking import marked

TOPICS: Mapping[str, str] = {
    "set-up": marked("Setting up your second step"),
    "lost-phone": marked("A lost or a new phone"),
    "questions": marked("Questions and answers"),
    "require": marked("Requiring it of everyone"),
    "administrators": marked("For administrators: helping your team"),
}
"""By the name in the address: what the page is about, in the order of the list."""

_FITTING = (
    ("/set-up", "set-up"),
    ("/activate", "set-up"),
    ("/code/lost", "lost-phone"),
    ("/code", "questions"),
    ("/me/phone", "lost-phone"),
    ("/me", "questions"),
    ("/clinic", "require"),
    ("/users", "administrators"),
    ("/audit", "administrators"),
)
"""By how the page's address begins, the longer beginnings first."""


def help_for(path: str) -> str:
    """The address of the help that whoever is at `path` may need."""
    topic = next((topic for start, topic in _FITTING if path == start or path.startswith(f"{start}/")), None)
    return f"/help/{topic}" if topic else "/help"
