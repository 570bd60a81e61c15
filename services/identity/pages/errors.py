"""Refusals that no page has drawn, as pages for whoever sits before a browser: an address where nothing is, a method
that it does not take, a form that cannot be read, a failure of ours. Others get the problem as it is (RFC 9457)."""

import json
from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.common.logs import get_logger
from services.identity.pages.rendering import page, speech_of
from services.identity.pages.speech.marking import marked
from services.identity.pages.wanted import is_page_wanted

_HEADINGS: Mapping[int, str] = {
    404: marked("This is not here"),
    405: marked("This is not here"),
    500: marked("Something went wrong"),
    503: marked("Just a moment"),
}
_OTHER = marked("That did not work")
_NOTHING = marked("There is no page at this address. Perhaps it was copied in part, or is out of date.")
_KEPT = frozenset({"allow", "retry-after", "connection"})

_log = get_logger(__name__)


def as_page(request: Request, response: Response) -> Response:
    """The refusal as a page, where one is wanted; the same response, where none is or none can be drawn."""
    if not is_page_wanted(request.scope["path"], request.headers.get("accept", "")):
        return response
    try:
        return _drawn(request, response)
    except Exception:
        _log.exception("refusal_not_drawn", status_code=response.status_code)
        return response


def register(app: FastAPI) -> None:
    """Draws what the app's handlers of refusals answer; they must be there already."""
    for kind in (HTTPException, RequestValidationError):
        handle = app.exception_handlers[kind]

        async def answer(request: Request, error: Exception, handle=handle) -> Response:  # type: ignore[no-untyped-def]
            return as_page(request, await handle(request, error))

        app.add_exception_handler(kind, answer)


def _drawn(request: Request, response: Response) -> Response:
    status, speech = response.status_code, speech_of(request)
    nothing = status in (404, 405)
    sentence = speech.say(_NOTHING) if nothing else speech.heard(json.loads(bytes(response.body))["detail"])
    heading = speech.say(_HEADINGS.get(status, _OTHER))
    drawn = page(
        request, "notice.html", status, heading=heading, sentence=sentence, on="/me", again=False, is_refused=True
    )
    drawn.headers.update({name: value for name, value in response.headers.items() if name in _KEPT})
    return drawn
