"""HTTP itself: bad input, body limits, methods, headers, origins, cookies, the public path (A04, A60-A62, A72, P25)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

SIGN_IN: dict[str, Any] = {"clinic": "harbour-x", "email": "a@b.example", "password": PASSWORD}
ORIGIN = "https://app.harbour.example"


async def post(stack: Stack, path: str, content: bytes, **headers: str) -> httpx.Response:
    headers.setdefault("Content-Type", "application/json")
    async with stack.client(**headers) as client:
        return await client.post(path, content=content)


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 422, "invalid-request"),
        (b"{", 400, "bad-request"),
        (b"\xff\xfe", 400, "bad-request"),
        (b"[" * 30_000, 400, "bad-request"),
        (b'{"clinic": ' + b"9" * 10_000 + b"}", 400, "bad-request"),
        (b"null", 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b'"x"', 422, "invalid-request"),
        (b"{}", 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "email": None}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "email": ["a"]}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "email": 7}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "password": {"$ne": ""}}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "password": "x" * 10_000}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "email": "a\u0000b"}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "clinic": "\u0000"}).encode(), 422, "invalid-request"),
        (b'{"clinic": "x", "email": "\\ud800", "password": "x"}', 422, "invalid-request"),
        (b'{"clinic": "x", "email": "y", "password": "\\udfff"}', 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "shared_device": "yes"}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "\u001b[31m": 1}).encode(), 422, "invalid-request"),
        (json.dumps({**SIGN_IN, "email": " "}).encode(), 401, "invalid-credentials"),
        (json.dumps({**SIGN_IN, "email": "' OR 1=1 --"}).encode(), 401, "invalid-credentials"),
        (json.dumps({**SIGN_IN, "email": "\r\n\u001b[2J"}).encode(), 401, "invalid-credentials"),
        (json.dumps({**SIGN_IN, "password": "a\u0000b"}).encode(), 401, "invalid-credentials"),
    ],
)
async def test_a72_whatever_is_sent_is_answered_with_a_problem(
    stack: Stack, content: bytes, status: int, slug: str
) -> None:
    response = await post(stack, "/v1/sessions", content)
    assert (response.status_code, slug_of(response)) == (status, slug)
    assert "\u001b" not in response.text
    assert PASSWORD not in response.text


@pytest.mark.parametrize(
    "code",
    [None, [], {}, 123456, True, "", "1", "1234567", "\uff11\uff12\uff13\uff14\uff15\uff16", "+12345", "x" * 101],
)
async def test_a13_a_code_of_another_shape_costs_no_guess(person: Person, code: Any) -> None:
    await person.sign_in()
    await person.enrol_totp()
    for _ in range(6):
        refused = await person.prove_raw({"method": "totp", "code": code})
        assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert (await person.prove()).status_code == 200


async def test_a72_a_body_over_64_kib_is_refused_however_it_comes(stack: Stack) -> None:
    large = b'{"clinic": "' + b"x" * 65_536 + b'"}'
    by_length = await post(stack, "/v1/sessions", large)
    assert (by_length.status_code, slug_of(by_length)) == (413, "too-large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    async with stack.client(**{"Content-Type": "application/json"}) as client:
        chunked = await client.post("/v1/sessions", content=chunks())
    assert (chunked.status_code, slug_of(chunked)) == (413, "too-large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonx"]
)
async def test_a62_json_under_another_name_is_refused(stack: Stack, media_type: str) -> None:
    response = await post(stack, "/v1/sessions", json.dumps(SIGN_IN).encode(), **{"Content-Type": media_type})
    assert (response.status_code, slug_of(response)) == (415, "unsupported-media-type")


async def test_json_with_a_charset_is_json(stack: Stack) -> None:
    content_type = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await post(stack, "/v1/sessions", json.dumps(SIGN_IN).encode(), **content_type)
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/v1/sessions", 405, "method-not-allowed"),
        ("GET", "/v1/session/second-factor", 405, "method-not-allowed"),
        ("PUT", "/v1/session", 405, "method-not-allowed"),
        ("TRACE", "/v1/session", 405, "method-not-allowed"),
        ("TRACE", "/nowhere", 404, "not-found"),
        ("BREW", "/v1/session", 405, "method-not-allowed"),
        ("OPTIONS", "/v1/session", 405, "method-not-allowed"),
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/session/", 404, "not-found"),
        ("GET", "/V1/session", 404, "not-found"),
        ("GET", "/docs", 404, "not-found"),
        ("GET", "/metrics", 404, "not-found"),
        ("GET", "/.git/config", 404, "not-found"),
        ("GET", "/v1/me/sessions/%00", 404, "not-found"),
        ("GET", "/v1/session?x=%00", 400, "bad-request"),
    ],
)
async def test_other_methods_and_addresses_are_problems_too(
    stack: Stack, method: str, path: str, status: int, slug: str
) -> None:
    response = await stack.call(method, path)
    assert (response.status_code, slug_of(response)) == (status, slug)
    if status == 405 and method in ("GET", "PUT"):
        assert response.headers["allow"]


async def test_head_is_get_without_its_body(person: Person) -> None:
    await person.sign_in()
    looked = await person.call("HEAD", "/v1/me")
    read = await person.call("GET", "/v1/me")
    assert (looked.status_code, looked.content) == (200, b"")
    assert looked.headers["content-length"] == read.headers["content-length"]
    assert (await person.call("HEAD", "/healthz")).status_code == 200


async def test_every_answer_carries_its_request_id_and_guards(stack: Stack) -> None:
    for path in ("/v1/session", "/nowhere", "/healthz"):
        response = await stack.call("GET", path, **{"X-Request-Id": "trace-0123456789"})
        assert response.headers["x-request-id"] == "trace-0123456789"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in response.headers  # http on loopback
        assert "server" not in response.headers
    for harmful in ("short", "x" * 65, "a b c d e f g h", "\u001b[31mred-red-red"):
        response = await stack.call("GET", "/healthz", **{"X-Request-Id": harmful.encode("utf-8").decode("latin-1")})
        assert response.headers["x-request-id"] != harmful
        assert len(response.headers["x-request-id"]) == 32


async def test_https_is_remembered_by_browsers(stack: Stack) -> None:
    public = await stack.another_app(public_url="https://app.harbour.example/auth")
    response = await public.call("GET", "/healthz")
    assert response.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_the_same_paths_are_served_with_and_without_the_public_path(stack: Stack, clinic: SomeClinic) -> None:
    public = await stack.another_app(public_url="https://app.harbour.example/auth")
    person = await clinic.person()
    body = {"clinic": clinic.slug, "email": person.email, "password": PASSWORD}
    for prefix in ("", "/auth"):
        opened = await public.call("POST", f"{prefix}/v1/sessions", body)
        assert opened.status_code == 201
        token = opened.json()["token"]
        assert (await public.call("GET", f"{prefix}/v1/session", token=token)).status_code == 200
        assert (await public.call("GET", f"{prefix}/v1/me", token=token)).status_code == 200
    assert (await public.call("GET", "/author/v1/session")).status_code == 404
    assert (await public.call("GET", "/auth/auth/v1/session")).status_code == 404
    assert (await stack.call("GET", "/auth/v1/session")).status_code == 404


async def test_scripts_of_an_allowed_origin_may_call_with_a_bearer_token(stack: Stack, person: Person) -> None:
    await person.sign_in()
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = await stack.call("OPTIONS", "/v1/me", **asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in preflight.headers
    answered = await person.call("GET", "/v1/me", Origin=ORIGIN)
    assert answered.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in answered.headers["vary"]
    refused = await stack.call("GET", "/v1/me", Origin=ORIGIN)
    assert refused.headers["access-control-allow-origin"] == ORIGIN  # so that the script can read the problem


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.harbour.example", "null", f"{ORIGIN}.evil.example", f"{ORIGIN}:8443"]
)
async def test_scripts_of_other_origins_may_not(stack: Stack, person: Person, origin: str) -> None:
    await person.sign_in()
    preflight = await stack.call("OPTIONS", "/v1/me", **{"Origin": origin, "Access-Control-Request-Method": "GET"})
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers
    answered = await person.call("GET", "/v1/me", Origin=origin)
    assert "access-control-allow-origin" not in answered.headers


async def test_p25_a_mutation_by_cookie_needs_our_origin_and_the_csrf_token(stack: Stack, person: Person) -> None:
    opened = await person.sign_in()
    cookie = {"Cookie": f"countersign={person.token}"}
    own = stack.settings.public_origin
    assert (await stack.call("GET", "/v1/me", **cookie)).status_code == 200
    good = stack.gateway.cookies.csrf_token(opened["id"])
    other = await person.clinic.person()
    foreign = stack.gateway.cookies.csrf_token((await other.sign_in())["id"])
    for headers in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": foreign},
        {"X-CSRF-Token": "x" * 64},
        {"X-CSRF-Token": good, "Origin": "https://evil.example"},
        {"X-CSRF-Token": good, "Origin": ORIGIN},
        {"X-CSRF-Token": good, "Origin": "null"},
    ):
        refused = await stack.call("PATCH", "/v1/me", {"name": "Somebody Else"}, **cookie, **headers)
        assert (refused.status_code, slug_of(refused)) == (403, "forbidden"), headers
    read_across = await stack.call("GET", "/v1/me", **cookie, Origin=ORIGIN)
    assert read_across.status_code == 401  # cookies never count across origins
    changed = await stack.call(
        "PATCH", "/v1/me", {"name": "Mina O."}, **cookie, **{"X-CSRF-Token": good, "Origin": own}
    )
    assert changed.status_code == 200


async def test_an_authorization_header_is_judged_alone(stack: Stack, person: Person) -> None:
    await person.sign_in()
    both = {"Cookie": f"countersign={person.token}", "Authorization": "Bearer nonsense"}
    assert (await stack.call("GET", "/v1/me", **both)).status_code == 401


async def test_over_https_the_cookie_is_bound_to_the_host(stack: Stack, person: Person) -> None:
    public = await stack.another_app(public_url="https://app.harbour.example")
    await person.sign_in()
    assert (await public.call("GET", "/v1/me", Cookie=f"__Host-countersign={person.token}")).status_code == 200
    assert (await public.call("GET", "/v1/me", Cookie=f"countersign={person.token}")).status_code == 401
    attributes = public.gateway.cookies.session("t")
    assert (attributes["secure"], attributes["httponly"], attributes["samesite"]) == (True, True, "lax")
    assert (attributes["key"], attributes["path"]) == ("__Host-countersign", "/")


async def test_a60_a_failure_tells_nothing_of_the_inside(
    stack: Stack, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.sign_in()

    def fail(*_: Any) -> None:
        raise RuntimeError("SELECT canary FROM secrets")

    monkeypatch.setattr("services.identity.api.me._me_as_json", fail)
    response = await person.call("GET", "/v1/me")
    assert (response.status_code, slug_of(response)) == (500, "internal-error")
    assert "canary" not in response.text


async def test_only_route_templates_are_logged_and_measured(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    from prometheus_client import REGISTRY, generate_latest

    await stack.call("GET", "/v1/activations/canary-token-in-the-path?q=canary-query")
    await stack.call("GET", "/canary-unmatched")
    printed = capsys.readouterr()
    measured = generate_latest(REGISTRY).decode()
    for text in (printed.out + printed.err, measured):
        assert "canary" not in text
    assert 'route="/v1/activations/{token}"' in measured
    assert 'route="unmatched"' in measured


async def test_traces_hold_route_templates_and_neither_paths_nor_queries(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    traced = await stack.another_app()  # an app looks at its start for where spans go
    await traced.call("GET", "/v1/activations/canary-token-in-the-path?q=canary-query")
    spans = exporter.get_finished_spans()
    assert any("/v1/activations/{token}" in span.name for span in spans)
    assert "canary" not in "".join(span.to_json() for span in spans)


async def test_a04_a_forged_forwarded_header_changes_no_address(stack: Stack, person: Person) -> None:
    await person.sign_in()
    stack.sql("DELETE FROM audit_event WHERE subject_id = %s", [person.id])
    body = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    await stack.call("POST", "/v1/sessions", body, address="198.51.100.4", **forged)
    await stack.call("POST", "/v1/sessions", body, address="192.0.2.200", **forged)
    rows = stack.sql("SELECT address FROM audit_event WHERE subject_id = %s ORDER BY seq", [person.id])
    assert [row["address"] for row in rows] == ["198.51.100.4", "203.0.113.9"]
