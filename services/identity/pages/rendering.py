"""Draws pages: templates in the reader's language with what every one of them needs, and the headers that keep a page
to itself.

Whatever comes from a person is escaped by Jinja; a page loads its own style sheet, script and pictures
and nothing else.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from services.common.errors import ServiceError
from services.common.logs import request_id_var
from services.identity.gateway import Gateway
from services.identity.guards import Access
from services.identity.model import Role, Session, SessionState
from services.identity.pages.assets import address
from services.identity.pages.help_topics import help_for
from services.identity.pages.speech.languages import LANGUAGES, Languages, Speech
from services.identity.pages.speech.said_after import DONE
from services.identity.pages.speech.words import STATUS, clock_of, errors_by_field, told

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'nonce-{}'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; frame-ancestors 'none'; {}"
)
# With no-referrer browsers send `Origin: null` with our own forms; this tells no path either.
_HEADERS = {"Referrer-Policy": "strict-origin", "Vary": "Accept-Language"}
_FOLDER = Path(__file__).with_name("templates")


class Pages:
    """The templates, once a language."""

    def __init__(self) -> None:
        self._languages = Languages()
        self._environments: Mapping[str, Environment] = {
            language: _environment(self._languages.speeches[language]) for language in LANGUAGES
        }

    def speech_for(self, request: Request) -> Speech:
        return self._languages.asked_for(request.headers.get("accept-language", ""))

    def drawn(self, speech: Speech, template: str, values: dict[str, Any]) -> str:
        return self._environments[speech.language].get_template(template).render(values)


def speech_of(request: Request) -> Speech:
    """How to talk to whoever asks."""
    pages: Pages = request.app.state.pages
    return pages.speech_for(request)


def page(
    request: Request,
    template: str,
    status: int = 200,
    *,
    access: Access | None = None,
    refusal: ServiceError | None = None,
    done: str = "",
    **values: Any,
) -> HTMLResponse:
    """The template as a response, to whoever is signed in (`access`).

    `done` is a name of `DONE`. A `refusal` is said on top, by its fields beside them, and gives the status; `wrong`
    in the values takes the place of its sentence.
    """
    pages: Pages = request.app.state.pages
    gateway: Gateway = request.app.state.gateway
    settings, speech, nonce = gateway.settings, pages.speech_for(request), secrets.token_urlsafe(16)
    zone = access.clinic.timezone if access else "UTC"
    shown = {
        "product_name": settings.product_name,
        "support_contact": settings.support_contact,
        "link": lambda path: f"{settings.path_prefix}{path}",
        "asset": lambda name: f"{settings.path_prefix}{address(name)}",
        "language": speech.language,
        "heard": speech.heard,
        "span": speech.span,
        "moment": partial(_moment, speech, zone),
        "day": partial(_day, speech, zone),
        "nonce": nonce,
        "request_id": request_id_var.get(),
        "done": speech.say(DONE.get(done, "")),
        "wrong": told(speech, refusal) if refusal else "",
        "errors": errors_by_field(speech, refusal),
        "clock": clock_of(speech, refusal),
        "is_refused": refusal is not None,
        "signed_in": _who(gateway, access, is_shared=gateway.cookies.is_shared(request.cookies)),
        "help": help_for(request.scope["path"]),
        "path": request.scope["path"],
        **values,
    }
    if refusal is not None:
        status = STATUS.get(refusal.code, 400)
    # A form's answer may lead back to an app of ours on another origin; browsers hold redirects to this, too.
    forms = " ".join(["form-action 'self'", *sorted(settings.origins)])
    headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(nonce, forms)}
    if refusal is not None and status in (429, 503) and (wait := refusal.members.get("retry_after")):
        headers["Retry-After"] = str(wait)
    return HTMLResponse(pages.drawn(speech, template, shown), status, headers=headers)


def lead_to(gateway: Gateway, path: str) -> RedirectResponse:
    """Sends the browser to another page of ours, by GET."""
    return RedirectResponse(f"{gateway.settings.path_prefix}{path}", 303)


def csrf_of(gateway: Gateway, session: Session) -> str:
    return gateway.cookies.csrf_token(session.id)


def new_key() -> str:
    """For a form whose reply may be given again: a double click, or a reload after a lost one, costs nobody a code."""
    return secrets.token_urlsafe(24)


def _who(gateway: Gateway, access: Access | None, *, is_shared: bool) -> dict[str, Any] | None:
    """What the head of a page says of whoever is signed in; `is_active`: the other pages are open to them; `is_shared`:
    at a computer that others use too."""
    if access is None:
        return None
    return {
        "name": access.user.name,
        "email": access.user.email,
        "clinic": access.clinic.name,
        "is_admin": access.user.role is Role.ADMIN,
        "is_active": access.state is SessionState.ACTIVE,
        "is_shared": is_shared or access.session.shared_device,
        "csrf": csrf_of(gateway, access.session),
    }


def _moment(speech: Speech, zone: str, at: datetime | None) -> str:
    return speech.moment(at, zone) if at else ""


def _day(speech: Speech, zone: str, at: datetime | None) -> str:
    return speech.day(at, zone) if at else ""


def _environment(speech: Speech) -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(speech.catalogue, newstyle=True)  # type: ignore[attr-defined]
    return made
