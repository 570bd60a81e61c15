"""The OpenAPI document, made from the routes themselves: their paths and schemas are what the app enforces, and the
errors follow from what a route declares (who may call it, whether it takes a body, what it names in its path).

What the routes cannot say stands in two tables: the errors of their subject (`REFUSALS`) and the examples.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from services.identity.api.examples import EXAMPLES
from services.identity.api.problem_examples import PROBLEM_MEMBERS, SENTENCES
from services.identity.api.refusals import REFUSALS
from services.identity.app_guards import AdmitsApps
from services.identity.guards import Admits, Public, declaration_of
from services.identity.problems import MEDIA_TYPE, PROBLEMS
from services.identity.settings import IdentitySettings

_DESCRIPTION = (
    "Sign-in and two-factor authentication. Errors are problem details (RFC 9457). Send the session's token as a bearer"
    " token; pages send it as a cookie, and then a CSRF token with every mutation."
)
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWW-Authenticate": {"description": "RFC 6750 and RFC 9470.", "schema": {"type": "string"}},
    "ETag": {"description": "The rule's version, for If-Match.", "schema": {"type": "string"}},
}
_WITH_ETAG = frozenset({"GET /v1/clinic/security", "PATCH /v1/clinic/security"})
_ALWAYS_ANSWERS = frozenset({"GET /healthz", "GET /openapi.json"})

Json = dict[str, Any]


def describe(routes: Iterable[BaseRoute], settings: IdentitySettings) -> Json:
    """The document for the API's routes; pages are no part of it."""
    described = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    document: Json = get_openapi(
        title=f"{settings.product_name} gateway",
        version="1",
        description=_DESCRIPTION,
        routes=described,
        servers=[{"url": settings.path_prefix or "/"}],
    )
    document["components"] = document.get("components", {})
    schemas: Json = document["components"].setdefault("schemas", {})
    schemas.update({_schema_name(slug): _problem_schema(slug) for slug in PROBLEMS})
    document["components"]["securitySchemes"] = _security_schemes(settings)
    for route in described:
        for method in sorted(route.methods or ()):
            operation = document["paths"][route.path_format][method.lower()]
            _complete(f"{method} {route.path_format}", operation, declaration_of(route))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(name: str, operation: Json, declaration: Any) -> None:
    operation["operationId"] = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    responses: Json = operation["responses"]
    responses.pop("422", None)
    slugs = _refusals(name, operation, declaration)
    for status in sorted({PROBLEMS[slug][0] for slug in slugs}):
        responses[str(status)] = _problem_response([slug for slug in PROBLEMS if slug in slugs], status)
    if isinstance(declaration, Admits):
        operation["security"] = [{"bearer": []}, _by_cookie(name)]
    scope = None if isinstance(declaration, Public) else declaration.app
    if scope is not None:
        operation.setdefault("security", []).append({"app": [scope.value]})
    success = next(status for status in responses if status.startswith("2"))
    if name in _WITH_ETAG:
        responses[success]["headers"] = {"ETag": _HEADERS["ETag"]}
    given = EXAMPLES.get(name)
    if given is None:
        return
    if given.request is not None:
        for media in operation["requestBody"]["content"].values():
            media["example"] = given.request
    if given.response is not None:
        for media in responses[success]["content"].values():
            media.setdefault("example", given.response)  # another format brings its own


def _refusals(name: str, operation: Json, declaration: Any) -> set[str]:
    """The slugs that a call of this operation can meet."""
    slugs = {"bad-request", "too-large", *REFUSALS.get(name, ())}
    if name not in _ALWAYS_ANSWERS:
        slugs |= {"unavailable"}
    parameters = operation.get("parameters", [])
    if name.partition(" ")[0] in ("POST", "PUT", "PATCH"):
        slugs |= {"unsupported-media-type"}
    places = {parameter["in"] for parameter in parameters}
    if "requestBody" in operation or places - {"path"}:
        slugs |= {"invalid-request"}
    if "path" in places:
        slugs |= {"not-found"}
    if isinstance(declaration, AdmitsApps | Admits):
        # `forbidden`: a key without the scope, a session without the role, a cookie without its CSRF token
        slugs |= {"unauthenticated", "forbidden"}
    if isinstance(declaration, Admits):
        if declaration.states is not None:
            slugs |= {"second-factor-required", "enrolment-required"}
        if declaration.step_up:
            slugs |= {"step-up-required"}
    return slugs


def _problem_response(slugs: list[str], status: int) -> Json:
    here = [slug for slug in slugs if PROBLEMS[slug][0] == status]
    references = [{"$ref": f"#/components/schemas/{_schema_name(slug)}"} for slug in here]
    response: Json = {
        "description": "; ".join(PROBLEMS[slug][1] for slug in here),
        "content": {
            MEDIA_TYPE: {
                "schema": references[0] if len(references) == 1 else {"oneOf": references},
                "examples": {slug: {"value": _problem_example(slug)} for slug in here},
            }
        },
    }
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = _HEADERS["Retry-After"]
    if status == 401 and set(here) & {"unauthenticated", "step-up-required"}:
        headers["WWW-Authenticate"] = _HEADERS["WWW-Authenticate"]
    if headers:
        response["headers"] = headers
    return response


def _problem_schema(slug: str) -> Json:
    status, title, members = PROBLEMS[slug]
    return {
        "type": "object",
        "title": title,
        "properties": {
            "type": {"const": f"urn:countersign:problem:{slug}"},
            "title": {"const": title},
            "status": {"const": status},
            "detail": {"type": "string", "description": "A sentence for the person.", "minLength": 1},
            "request_id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{8,64}$"},
            **{name: PROBLEM_MEMBERS[name].schema for name in members},
        },
        "required": ["type", "title", "status", "detail", "request_id"],
        "additionalProperties": False,
    }


def _problem_example(slug: str) -> Json:
    status, title, members = PROBLEMS[slug]
    return {
        "type": f"urn:countersign:problem:{slug}",
        "title": title,
        "status": status,
        "detail": SENTENCES[slug],
        "request_id": "5f0c1a9e7b6d4c3f8a2e1d0b9c8a7f6e",
        **{name: PROBLEM_MEMBERS[name].example for name in members},
    }


def _schema_name(slug: str) -> str:
    return "Problem" + "".join(word.title() for word in slug.split("-"))


def _security_schemes(settings: IdentitySettings) -> Json:
    cookie = "__Host-countersign" if settings.is_https else "countersign"
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A session's token."},
        "app": {"type": "http", "scheme": "bearer", "description": "An app's key, with the scope that is named."},
        "cookie": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "The same, from the pages."},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token", "description": "Goes with the cookie."},
    }


def _by_cookie(name: str) -> dict[str, list[str]]:
    return {"cookie": []} if name.startswith("GET ") else {"cookie": [], "csrf": []}
