"""Forms: their fields, and the token that proves that a form of somebody not signed in yet is ours.

Who is signed in has a token of their session (`guards`). Before that the browser holds a random cookie, and the form
its keyed hash: another site can send neither.
"""

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import CSRF_FIELD, KEY_FIELD, is_foreign
from services.identity.model import SessionId
from services.identity.pages.rendering import new_key

_MOST = 2000
_LONGEST_KEY = 64


class Fields:
    """A form as it was sent; each field once, as text."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __call__(self, name: str) -> str:
        """The field's text, or '' where it was not sent."""
        return self._values.get(name, "")

    def all(self) -> list[tuple[str, str]]:
        return list(self._values.items())


async def fields_of(request: Request) -> Fields:
    """Raises `invalid-request` for what no form of ours sends."""
    values = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    if any("\x00" in value or len(value) > _MOST for value in values.values()):
        raise ServiceError(ErrorCode.INVALID_REQUEST, "That cannot be read. Please try again.")
    return Fields(values)


async def key_of_form(request: Request, refusal: ServiceError | None) -> str:
    """The key of the form that is shown: a new one, so that what is typed now is a new attempt. Where the last one was
    not answered (the same may be at it still) it is the last one's: the same typed again hears its verdict."""
    last = (await fields_of(request))(KEY_FIELD) if refusal and refusal.code is ErrorCode.UNAVAILABLE else ""
    return last[:_LONGEST_KEY] or new_key()


class BeforeSignIn:
    """The token of one browser's forms before it has a session."""

    def __init__(self, request: Request, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_https = gateway.settings.is_https
        self._name = "__Host-countersign-form" if self._is_https else "countersign-form"
        sent = request.cookies.get(self._name, "")
        self._is_new = not 20 <= len(sent) <= 64
        self._value = secrets.token_urlsafe(24) if self._is_new else sent

    @property
    def token(self) -> str:
        """What the form carries. Keyed by a purpose of its own: no session's id begins like this."""
        return self._gateway.cookies.csrf_token(SessionId(f"form:{self._value}"))

    def check(self, request: Request, fields: Fields) -> None:
        """Raises `forbidden` where the form is not one that this browser got from us."""
        right = self._gateway.cookies.is_csrf_token(fields(CSRF_FIELD), SessionId(f"form:{self._value}"))
        if self._is_new or is_foreign(request, self._gateway) or not right:
            raise ServiceError(ErrorCode.FORBIDDEN, "This form is out of date. Please reload the page and try again.")

    def remember(self, response: Response) -> None:
        """Gives the browser its cookie, where it has none."""
        if self._is_new:
            response.set_cookie(**self._attributes(), value=self._value)

    def forget(self, response: Response) -> None:
        """After signing in the session's own token counts; the next sign-in starts anew."""
        response.set_cookie(**self._attributes(), value="", max_age=0)

    def _attributes(self) -> dict[str, Any]:
        return {"key": self._name, "path": "/", "httponly": True, "secure": self._is_https, "samesite": "lax"}
