"""Where a browser was going when it was asked to sign in: kept in a cookie for the length of a sign-in, checked when it
comes and again when it is used, as a cookie may be anyone's (A64)."""

from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.identity.gateway import Gateway
from services.identity.model import SessionState
from services.identity.pages.rendering import lead_to
from services.identity.return_to import checked

WAY_ON = {
    SessionState.ACTIVE: "/me",
    SessionState.SECOND_FACTOR_REQUIRED: "/code",
    SessionState.ENROLMENT_REQUIRED: "/set-up",
}
_PARAMETER = "return_to"
_MINUTES = 30  # as long as a sign-in that waits for an enrolment may last


def asked_way_back(request: Request, gateway: Gateway) -> str | None:
    """What the address of the page itself says."""
    return _checked(request.query_params.get(_PARAMETER, ""), gateway) if request.method == "GET" else None


def keep_way_back(request: Request, response: Response, gateway: Gateway) -> None:
    """Keeps what the address of a page says, where somebody may be led there."""
    if back := asked_way_back(request, gateway):
        response.set_cookie(**_attributes(gateway), value=quote(back, safe=""), max_age=_MINUTES * 60)


def keep_page(response: Response, gateway: Gateway, path: str) -> None:
    """Keeps a page of ours that somebody was going to when they were stopped; My info comes without being kept."""
    if path == WAY_ON[SessionState.ACTIVE]:
        forget_way_back(response, gateway)
    elif back := _checked(f"{gateway.settings.path_prefix}{path}", gateway):
        response.set_cookie(**_attributes(gateway), value=quote(back, safe=""), max_age=_MINUTES * 60)


def way_back(request: Request, gateway: Gateway) -> str | None:
    """The whole address, or None where there is none to go back to."""
    return _checked(unquote(request.cookies.get(_name(gateway), "")), gateway)


def forget_way_back(response: Response, gateway: Gateway) -> None:
    response.set_cookie(**_attributes(gateway), value="", max_age=0)


def lead_on(request: Request, gateway: Gateway, state: SessionState) -> RedirectResponse:
    """Where a session in this state goes on: back to where its browser came from, once it is active."""
    back = way_back(request, gateway) if state is SessionState.ACTIVE else None
    if back is None:
        return lead_to(gateway, WAY_ON[state])
    response = RedirectResponse(back, 303)
    forget_way_back(response, gateway)
    return response


def _checked(candidate: str, gateway: Gateway) -> str | None:
    if not candidate:
        return None
    return checked(candidate, gateway.settings.public_origin, gateway.settings.origins)


def _name(gateway: Gateway) -> str:
    return "__Host-countersign-back" if gateway.settings.is_https else "countersign-back"


def _attributes(gateway: Gateway) -> dict[str, Any]:
    secure = gateway.settings.is_https
    return {"key": _name(gateway), "path": "/", "httponly": True, "secure": secure, "samesite": "lax"}
