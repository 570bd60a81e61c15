"""Remembers which clinic this browser signs in to, so that nobody has to type its short name each morning. It names a
clinic and proves nothing."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.identity.gateway import Gateway
from services.identity.particulars import is_slug

_DAYS = 180


def remembered_clinic(request: Request, gateway: Gateway) -> str:
    """The short name, or '' where there is none that could be one."""
    slug = request.cookies.get(_name(gateway), "")
    return slug if is_slug(slug) else ""


def remember_clinic(response: Response, gateway: Gateway, slug: str) -> None:
    attributes: dict[str, Any] = {"path": "/", "secure": gateway.settings.is_https, "samesite": "lax"}
    response.set_cookie(_name(gateway), slug, max_age=_DAYS * 24 * 3600, **attributes)


def _name(gateway: Gateway) -> str:
    return "__Host-countersign-clinic" if gateway.settings.is_https else "countersign-clinic"
