"""What refusals look like over HTTP: RFC 9457 problem details, one table from slug to status and members.

Only the members that belong to a slug go out; no stack, SQL or gRPC text ever does (A60).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger, request_id_var
from services.identity.validation_words import sentence_of

MEDIA_TYPE = "application/problem+json"
STEP_UP_SECONDS = 300

# Slug → status, title, extension members.
PROBLEMS: Mapping[str, tuple[int, str, tuple[str, ...]]] = {
    "bad-request": (400, "The request cannot be read", ()),
    "method-not-allowed": (405, "Not this way", ()),
    "too-large": (413, "Too large", ()),
    "unsupported-media-type": (415, "Not this kind of content", ()),
    "invalid-request": (422, "Something in the request is not right", ("errors",)),
    "invalid-credentials": (401, "Sign-in failed", ()),
    "unauthenticated": (401, "Please sign in", ("cause",)),
    "second-factor-required": (403, "A code is needed", ("methods", "degraded")),
    "enrolment-required": (403, "A second factor must be set up", ("methods", "degraded", "phone_required", "reason")),
    "step-up-required": (401, "A fresh code is needed", ("max_age",)),
    "invalid-code": (422, "The code is wrong", ("attempts_left", "clock_skew_seconds", "hint")),
    "code-already-used": (422, "The code was used before", ("retry_after",)),
    "code-expired": (422, "The code has expired", ()),
    "too-many-attempts": (429, "Too many attempts", ("retry_after", "locked")),
    "forbidden": (403, "Not allowed", ()),
    "not-found": (404, "Not found", ()),
    "gone": (410, "Gone", ()),
    "required-by-policy": (409, "Required here", ("reason", "holders")),
    "conflict": (409, "Not as things are", ("version",)),
    "unavailable": (503, "Not working just now", ("retry_after", "not_ready")),
    "internal-error": (500, "Something went wrong", ()),
}
_BY_STATUS = {
    400: ("bad-request", "The request cannot be read."),
    403: ("forbidden", "This is not allowed."),
    404: ("not-found", "There is nothing here."),
    405: ("method-not-allowed", "This address does not take requests of this kind."),
    413: ("too-large", "The request is too large."),
    415: ("unsupported-media-type", "Send JSON, with Content-Type: application/json."),
}

_log = get_logger(__name__)


def problem(
    slug: str, detail: str, members: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response for a slug; members that do not belong to it are left out."""
    status, title, known = PROBLEMS[slug]
    body: dict[str, Any] = {
        "type": f"urn:countersign:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id_var.get(),
    }
    body.update((name, members[name]) for name in known if members and members.get(name) is not None)
    sent = dict(headers or {})
    if "retry_after" in body and status in (429, 503):
        sent["Retry-After"] = str(body["retry_after"])
    if slug == "unauthenticated":
        sent["WWW-Authenticate"] = "Bearer"
    elif slug == "step-up-required":
        sent["WWW-Authenticate"] = (
            'Bearer error="insufficient_user_authentication",'
            f' error_description="A fresh code is needed", acr_values="aal2", max_age={body.get("max_age", 0)}'
        )
    return JSONResponse(body, status_code=status, headers=sent, media_type=MEDIA_TYPE)


def from_service_error(error: ServiceError) -> JSONResponse:
    if error.code is ErrorCode.UNAVAILABLE:
        _log.warning("unavailable", away=error.members.get("away"))
    return problem(error.code.value, error.detail, error.members)


def from_validation(errors: Sequence[Mapping[str, Any]], *, is_name_chosen: bool = False) -> JSONResponse:
    """Says which fields are wrong and how; never what was sent in them. A name in the path that nothing can have is
    one more that nothing has, unless it is chosen by who asks."""
    if not is_name_chosen:
        named, errors = errors, [error for error in errors if error["loc"][0] != "path"]
        if named and not errors:
            return problem(*_BY_STATUS[404])
    if any(error["type"] == "json_invalid" for error in errors):
        return problem("bad-request", "The body is not well-formed JSON.")
    found = [{"field": _field(error["loc"]), "message": sentence_of(error)} for error in errors[:20]]
    return problem("invalid-request", "Something in the request is not right.", {"errors": found})


def register(app: FastAPI) -> None:
    """Makes every refusal of the app one of the above."""

    async def on_service_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)
        return from_service_error(error)

    async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        if (refusal := getattr(request.state, "refused_anyway", None)) is not None:
            return from_service_error(refusal)  # let through for one thing, which this is not
        return from_validation(error.errors(), is_name_chosen=_makes_what_it_names(request))

    async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        slug, detail = _BY_STATUS.get(error.status_code, _BY_STATUS[400])
        allow = {"Allow": ", ".join(_methods_at(request))} if slug == "method-not-allowed" else None
        return problem(slug, detail, headers=allow)

    app.add_exception_handler(ServiceError, on_service_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)


def internal_error() -> JSONResponse:
    return problem(
        "internal-error", "Something went wrong on our side. Please try again; if it keeps happening, tell support."
    )


def _methods_at(request: Request) -> list[str]:
    """What the address does take: the router itself would name the methods of the first route of this path alone."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ("GET",)})


def _makes_what_it_names(request: Request) -> bool:
    """Whether the path's last name is that of something to be made (RFC 9110, 9.3.4)."""
    path: str = getattr(request.scope.get("route"), "path", "")
    return request.method == "PUT" and path.endswith("}")


def _field(location: Sequence[Any]) -> str:
    parts = [str(part) for part in location if part not in ("body", "path", "query", "header")]
    # The names of unknown fields come from the sender: cut, and nothing that a log or a terminal would act on.
    return "".join(char for char in ".".join(parts)[:100] if char.isprintable())
