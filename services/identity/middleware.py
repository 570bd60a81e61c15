"""What stands before every route, as one pure ASGI layer: request id, the public path prefix, limits on what a body may
be, CORS for bearer calls, security headers, one log line and the metrics of a request.

Only route templates are logged and measured, never paths: links carry tokens.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.logs import accept_request_id, get_logger, request_id_var
from services.common.tracing import server_span
from services.identity import problems
from services.identity.settings import IdentitySettings

REQUESTS = Counter("http_requests_total", "HTTP requests answered.", ["route", "method", "status"])
SECONDS = Histogram(
    "http_request_seconds",
    "Time to answer an HTTP request.",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

MOST_BODY_BYTES = 64 * 1024
_BODY_WITHIN_SECONDS = 15.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_JSON, _FORM = b"application/json", b"application/x-www-form-urlencoded"
_QUIET = frozenset({"/healthz", "/readyz"})
_ALLOWED_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS = b"Authorization, Content-Type, If-Match, Idempotency-Key, X-Request-Id, X-Countersign-Background"
_EXPOSED_HEADERS = b"ETag, Retry-After, WWW-Authenticate, X-Request-Id"
_NO_CONTENT_POLICY = b"default-src 'none'; frame-ancestors 'none'"

_log = get_logger(__name__)

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class _Sent:
    """What the layer reads of a request's headers, in one pass."""

    request_id: str | None = None
    length: int = 0
    is_chunked: bool = False
    media_type: bytes = b""
    origin: str = ""
    is_preflight: bool = False
    trace: dict[str, str] = field(default_factory=dict)


class Edge:
    def __init__(
        self, app: ASGIApp, settings: IdentitySettings, draw: Callable[[Request, Response], Response] | None = None
    ) -> None:
        """`draw` makes pages of refusals, for those who want pages."""
        self._app = app
        self._draw = draw
        self._prefix = settings.path_prefix
        self._origins = settings.origins
        self._security: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
        if settings.is_https:
            self._security.append((b"strict-transport-security", b"max-age=31536000; includeSubDomains"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        sent = _read_headers(scope["headers"])
        request_id_var.set(accept_request_id(sent.request_id))
        method = scope["method"]
        inner = dict(scope)
        inner["method"] = "GET" if method == "HEAD" else method
        inner["path"] = self._without_prefix(scope["path"])
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._complete(list(message["headers"]), sent)
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            with server_span("request", sent.trace) as span:
                try:
                    await self._answer(inner, receive, answer, sent)
                finally:
                    span.update_name(f"{_known(method)} {_template(inner)}")
        except Exception:
            _log.exception("request_failed", method=method, route=_template(inner))
            if status:
                raise  # the answer has begun; the server can only close the connection
            await self._as_wanted(inner, problems.internal_error())(inner, receive, answer)
        finally:
            self._tell(inner, method, status or 499, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, sent: _Sent) -> None:
        refusal = self._refusal(scope, sent)
        if refusal is None and scope["method"] in _WITH_BODY and (sent.length or sent.is_chunked):
            body = await _read_body(receive)
            if isinstance(body, Response):
                refusal = body
            else:
                if body:
                    refusal = _wrong_media_type(scope["path"], sent.media_type)
                receive = _replaying(body, receive)
        await (self._as_wanted(scope, refusal) if refusal else self._app)(scope, receive, send)

    def _as_wanted(self, scope: Scope, refusal: Response) -> Response:
        is_problem = refusal.media_type == problems.MEDIA_TYPE
        return self._draw(Request(scope), refusal) if self._draw is not None and is_problem else refusal

    def _refusal(self, scope: Scope, sent: _Sent) -> Response | None:
        if "\x00" in scope["path"]:
            return problems.problem("not-found", "There is nothing here.")
        if b"%00" in scope["query_string"]:
            return problems.problem("bad-request", "The address cannot be read.")
        if sent.length > MOST_BODY_BYTES:
            return _too_large()
        if scope["method"] == "OPTIONS" and sent.is_preflight and sent.origin in self._origins:
            return Response(status_code=204)
        return None

    def _without_prefix(self, path: str) -> str:
        prefix = self._prefix
        if prefix and path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == "/"):
            return path[len(prefix) :] or "/"
        return path

    def _complete(self, headers: Headers, sent: _Sent) -> Headers:
        present = {name for name, _ in headers}
        headers.append((b"x-request-id", request_id_var.get().encode()))
        headers.extend(header for header in self._security if header[0] not in present)
        if b"cache-control" not in present:
            headers.append((b"cache-control", b"no-store"))
        if b"content-security-policy" not in present:
            headers.append((b"content-security-policy", _NO_CONTENT_POLICY))
        if self._origins:
            headers.append((b"vary", b"Origin"))
            if sent.origin in self._origins:
                headers.append((b"access-control-allow-origin", sent.origin.encode()))
                headers.append((b"access-control-expose-headers", _EXPOSED_HEADERS))
                if sent.is_preflight:
                    headers.append((b"access-control-allow-methods", _ALLOWED_METHODS))
                    headers.append((b"access-control-allow-headers", _ALLOWED_HEADERS))
                    headers.append((b"access-control-max-age", b"600"))
        return headers

    def _tell(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = _template(scope)
        known = _known(method)
        REQUESTS.labels(route, known, str(status)).inc()
        SECONDS.labels(route, known).observe(seconds)
        if route not in _QUIET:
            _log.info("request", method=known, route=route, status_code=status, ms=round(seconds * 1000, 1))


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> _Sent:
    sent = _Sent()
    for name, value in headers:
        if name == b"content-type":
            sent.media_type = value.partition(b";")[0].strip().lower()
        elif name == b"content-length":
            sent.length = int(value) if value.isdigit() and len(value) < 20 else MOST_BODY_BYTES + 1
        elif name == b"transfer-encoding":
            sent.is_chunked = True
        elif name == b"x-request-id":
            sent.request_id = value.decode("latin-1")
        elif name == b"origin":
            sent.origin = value.decode("latin-1")
        elif name == b"access-control-request-method":
            sent.is_preflight = True
        elif name == b"traceparent":
            sent.trace["traceparent"] = value.decode("latin-1")
    return sent


async def _read_body(receive: Receive) -> bytes | Response:
    """The whole body, or the refusal of one that is too large or never ends; a client that left is an empty body."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_WITHIN_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return problems.problem("bad-request", "The request ended too early.")
                part = message.get("body", b"")
                size += len(part)
                if size > MOST_BODY_BYTES:
                    return _too_large()
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return problems.problem("bad-request", "The request took too long to arrive.", headers={"Connection": "close"})


def _replaying(body: bytes, receive: Receive) -> Receive:
    waiting = True

    async def replay() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _wrong_media_type(path: str, media_type: bytes) -> Response | None:
    if path.startswith("/v1/") and not path.startswith("/v1/webhooks/"):
        if media_type == _JSON:
            return None
        return problems.problem("unsupported-media-type", "Send JSON, with Content-Type: application/json.")
    if media_type == _FORM:
        return None
    return problems.problem("unsupported-media-type", "Send a form, application/x-www-form-urlencoded.")


def _too_large() -> Response:
    detail = f"The request is larger than {MOST_BODY_BYTES // 1024} KiB."
    return problems.problem("too-large", detail, headers={"Connection": "close"})


def _known(method: str) -> str:
    """The method, where it is one: whatever else a client makes up is one word in logs and metrics."""
    return method if method in _METHODS else "OTHER"


def _template(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "unmatched"))
