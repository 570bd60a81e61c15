"""What a page does with a refusal: leads to the page that is the way forward, or says in plain words what is wrong."""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import is_foreign
from services.identity.model import EndCause
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.signing_in.clinic_cookie import remembered_clinic
from services.identity.pages.speech.marking import marked
from services.identity.pages.speech.words import told
from services.identity.pages.way_back import keep_page, keep_way_back

_LED_TO: Mapping[ErrorCode, str] = {ErrorCode.SECOND_FACTOR_REQUIRED: "/code", ErrorCode.ENROLMENT_REQUIRED: "/set-up"}
_HEADINGS: Mapping[ErrorCode, str] = {
    ErrorCode.GONE: marked("This link is over"),
    ErrorCode.NOT_FOUND: marked("This is not here"),
    ErrorCode.FORBIDDEN: marked("That did not work"),
    ErrorCode.UNAVAILABLE: marked("Just a moment"),
    ErrorCode.TOO_MANY_ATTEMPTS: marked("Please wait a little"),
}
_NOT_POSSIBLE = marked("That is not possible")
_RETURNS = re.compile(r"/(me|set-up|clinic|users|audit)(/[A-Za-z0-9_-]{1,64}){0,4}")


def may_return(path: str) -> bool:
    """Whether a fresh code may lead back to this page of ours; nothing else that an address names is followed (A64)."""
    return _RETURNS.fullmatch(path) is not None


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except ServiceError as error:
                response = _refusal(request, error)
            keep_way_back(request, response, request.app.state.gateway)
            return response

        return answer


def way_forward(request: Request, gateway: Gateway, error: ServiceError) -> str | None:
    """The page that helps whoever is refused so, or None where no page does."""
    if error.code is not ErrorCode.UNAUTHENTICATED:
        return _LED_TO.get(error.code)
    slug = remembered_clinic(request, gateway)
    why = ""
    if cause := error.members.get("cause"):
        why = "?done=idle" if cause == EndCause.IDLE else "?done=over"
    return f"/c/{slug}{why}" if slug else f"/{why}"


def way_on(request: Request, code: ErrorCode | None) -> dict[str, Any]:
    """Where the button of a page that says no leads: to the same page where it may answer later, else to the start."""
    may_try_again = code in (ErrorCode.UNAVAILABLE, ErrorCode.TOO_MANY_ATTEMPTS) and request.method == "GET"
    return {"on": request.scope["path"] if may_try_again else "/me", "again": may_try_again}


def _refusal(request: Request, error: ServiceError) -> Response:
    gateway: Gateway = request.app.state.gateway
    if error.code is ErrorCode.UNAUTHENTICATED:
        response: Response = lead_to(gateway, way_forward(request, gateway, error) or "/")
        if not is_foreign(request, gateway):  # another site's request is nobody's, and signs nobody out
            response.set_cookie(**gateway.cookies.gone())
        return response
    if error.code is ErrorCode.STEP_UP_REQUIRED:
        path = request.scope["path"]
        if request.method == "POST" and may_return(path):
            # With what was typed: it goes on with the code, and is sent again by the browser (RFC 9110, 15.4.8).
            return RedirectResponse(f"{gateway.settings.path_prefix}/code/before?then={path}", 307)
        return lead_to(gateway, f"/code?then={path if may_return(path) else '/me'}")
    if error.code in _LED_TO:
        response = lead_to(gateway, _LED_TO[error.code])
        path = request.scope["path"]
        if request.method == "GET" and may_return(path) and not path.endswith("/export"):  # a file is no page
            keep_page(response, gateway, path)
        return response
    speech = speech_of(request)
    return page(
        request,
        "notice.html",
        refusal=error,
        wrong="",
        heading=speech.say(_HEADINGS.get(error.code, _NOT_POSSIBLE)),
        sentence=told(speech, error),
        **way_on(request, error.code),
    )
