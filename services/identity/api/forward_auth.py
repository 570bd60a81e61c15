"""For a reverse proxy that puts a site behind the gateway: may this request pass, and who sends it.

The proxy asks with the headers of the request it holds, so the cookie, the bearer token and where they come from are
that request's; its method is in X-Forwarded-Method. A person's browser is led on rather than refused.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import BACKGROUND_HEADER, FORWARDED_METHOD_HEADER, Access, Admits
from services.identity.pages.route import way_forward
from services.identity.pages.wanted import prefers_html
from services.identity.return_to import of_forwarded
from services.identity.sessions import acr_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_ANSWERED = {"schema": {"type": "string"}}
_HEADERS = {
    "X-Countersign-User": {"description": "The user's id.", **_ANSWERED},
    "X-Countersign-Clinic": {"description": "The clinic's id.", **_ANSWERED},
    "X-Countersign-Role": {"description": "The user's role.", **_ANSWERED},
    "X-Countersign-Acr": {"description": "`aal2` where a second factor was proven, else `aal1`.", **_ANSWERED},
}
_SENT = {
    FORWARDED_METHOD_HEADER: "The method of the request; where it is not sent, the request counts as a change.",
    "X-Forwarded-Proto": "With the next two, where a browser comes back to.",
    "X-Forwarded-Host": "The host that was asked for.",
    "X-Forwarded-Uri": "The path and query that were asked for.",
    BACKGROUND_HEADER: "`1`: nobody is there; the idle time is not renewed.",
}


class _LeadsOn(APIRoute):
    """A route whose refusals lead a browser to the page that helps."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                led = _led_on(request, error)
                if led is None:
                    raise
                return led

        return answer


router = APIRouter(tags=["machines"], route_class=_LeadsOn)


@router.get(
    "/v1/forward-auth",
    response_class=Response,
    responses={
        200: {"description": "The request may pass. All four headers, always.", "headers": _HEADERS},
        303: {
            "description": "The page that leads on, for a browser's GET.",
            "headers": {"Location": {"description": "The page.", **_ANSWERED}},
        },
    },
    openapi_extra={
        "parameters": [
            {"in": "header", "name": name, "description": text, "required": False, "schema": {"type": "string"}}
            for name, text in _SENT.items()
        ]
    },
)
async def get_forward_auth(access: Annotated[Access, Depends(Admits.proxied())]) -> Response:
    """May this request pass to the site behind the proxy, and who sends it."""
    headers = {
        "X-Countersign-User": access.user.id,
        "X-Countersign-Clinic": access.clinic.id,
        "X-Countersign-Role": access.user.role.value,
        "X-Countersign-Acr": acr_of(access.session),
    }
    return Response(headers=headers)


def _led_on(request: Request, error: ServiceError) -> Response | None:
    gateway: Gateway = request.app.state.gateway
    sent = request.headers
    if sent.get(FORWARDED_METHOD_HEADER) != "GET" or not prefers_html(sent.get("accept", "")):
        return None
    page = way_forward(request, gateway, error)
    if page is None:
        return None
    settings = gateway.settings
    scheme, host, uri = (sent.get(f"x-forwarded-{name}", "") for name in ("proto", "host", "uri"))
    back = of_forwarded(scheme, host, uri, settings.public_origin, settings.origins)
    if back is not None:
        page += f"{'&' if '?' in page else '?'}return_to={quote(back, safe='')}"
    return RedirectResponse(f"{settings.public_url}{page}", 303)
