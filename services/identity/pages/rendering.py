"""Draws pages: templates with what every one of them needs, and the headers that keep a page to itself.

Whatever comes from a person is escaped by Jinja; a page loads its own style sheet and pictures and nothing else.
"""

import secrets
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse

from services.identity.gateway import Gateway
from services.identity.model import Session

_POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
# With no-referrer browsers send `Origin: null` with our own forms; this tells no path either.
_HEADERS = {"Referrer-Policy": "strict-origin"}
DONE = {
    "password-saved": "Your password is saved. Sign in with it now.",
    "signed-out": "You are signed out.",
    "stepped-up": "Thank you. For the next five minutes you can make changes here.",
    "turned-off": "That way to sign in is turned off.",
    "rule-on": "From now on everyone in your clinic needs two-factor authentication.",
    "rule-off": "Two-factor authentication is no longer required of everyone.",
    "idle": "You were signed out because nothing happened for a while. Please sign in again.",
    "over": "Your sign-in has ended. Please sign in again.",
}
"""What an address may ask a page to say, by name; nothing from an address is shown as it is."""


def page(gateway: Gateway, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The template as a response. `done` in the values is a name of `DONE`."""
    settings = gateway.settings
    said = DONE.get(values.pop("done", "") or "", "")
    text = (
        _environment()
        .get_template(template)
        .render(
            product_name=settings.product_name,
            support_contact=settings.support_contact,
            link=lambda path: f"{settings.path_prefix}{path}",
            done=said,
            wrong=values.pop("wrong", ""),
            **values,
        )
    )
    # A form's answer may lead back to an app of ours on another origin; browsers hold redirects to this, too.
    forms = " ".join(["form-action 'self'", *sorted(settings.origins)])
    return HTMLResponse(text, status, headers={**_HEADERS, "Content-Security-Policy": f"{_POLICY}; {forms}"})


def lead_to(gateway: Gateway, path: str) -> RedirectResponse:
    """Sends the browser to another page of ours, by GET."""
    return RedirectResponse(f"{gateway.settings.path_prefix}{path}", 303)


def csrf_of(gateway: Gateway, session: Session) -> str:
    return gateway.cookies.csrf_token(session.id)


def new_key() -> str:
    """For a form whose reply may be given again: a double click, or a reload after a lost one, costs nobody a code."""
    return secrets.token_urlsafe(24)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
