"""The gateway as a web site: origins, cookies, the public address and its path, headers, and the request id that
follows a request through every service."""

import json
import re
import secrets
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.end_to_end.client import new_number, ok, problem, told
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import LocalStack, Stack

FOREIGN = "https://evil.example"


class Visitor:
    """A browser without scripts: keeps cookies, fills forms."""

    def __init__(self, stack: Stack) -> None:
        self.base = stack.public_url
        self.http = httpx.Client(trust_env=False, timeout=10, follow_redirects=False)

    def form(self, path: str) -> dict[str, str]:
        """The hidden fields of the page's first form."""
        page = self.http.get(self.base + path)
        assert page.status_code == 200, told(page)
        found = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert found, page.text[:500]
        return {"csrf": found[1]}

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(self.base))
        sent = {"Origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.http.post(self.base + path, data=fields, headers={k: v for k, v in sent.items() if v})

    def sign_in(self, clinic: Clinic) -> "Visitor":
        person = clinic.person()
        path = f"/c/{clinic.slug}"
        answer = self.post(path, {**self.form(path), "email": person.email, "password": person.password})
        assert answer.status_code == 303, told(answer)
        return self


def test_only_allowed_origins_may_call_and_never_with_cookies(stack: Stack, shared: Clinic) -> None:
    _, client = shared.member()
    allowed = getattr(stack, "allowed_origin", "")
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    foreign = client.call("OPTIONS", "/v1/sessions", headers={"Origin": FOREIGN, **ask}, token=None)
    assert "access-control-allow-origin" not in foreign.headers
    answer = client.get("/v1/session", headers={"Origin": FOREIGN})
    assert "access-control-allow-origin" not in answer.headers
    near = client.get("/v1/session", headers={"Origin": f"{allowed}.evil.example"})
    assert "access-control-allow-origin" not in near.headers
    if not allowed:
        return
    preflight = client.call("OPTIONS", "/v1/sessions", headers={"Origin": allowed, **ask}, token=None)
    assert preflight.status_code in (200, 204), told(preflight)
    assert preflight.headers["access-control-allow-origin"] == allowed
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "origin" in preflight.headers["vary"].lower()
    answer = client.get("/v1/session", headers={"Origin": allowed})
    assert answer.headers["access-control-allow-origin"] == allowed
    for response in (preflight, answer):
        assert response.headers.get("access-control-allow-credentials") != "true"


def test_p25_the_cookie_is_the_browsers_alone(stack: Stack, shared: Clinic) -> None:
    visitor = Visitor(stack).sign_in(shared)
    private = [c for c in visitor.http.cookies.jar if not c.name.endswith("-clinic")]
    assert len(private) == 2, "the session, and what the browser is known again by"
    for cookie in private:
        assert cookie.has_nonstandard_attr("HttpOnly")
        secure = visitor.base.startswith("https")
        assert cookie.name.startswith("__Host-") is secure
        assert cookie.secure is secure
        same_site = cookie.get_nonstandard_attr("SameSite") or cookie.get_nonstandard_attr("samesite")
        assert str(same_site).lower() == "lax"
        assert cookie.path == "/"
    page = visitor.http.get(visitor.base + "/me")
    assert page.status_code == 200


def test_p25_a_mutation_with_the_cookie_needs_our_origin_and_the_forms_token(stack: Stack, shared: Clinic) -> None:
    visitor = Visitor(stack).sign_in(shared)
    fields = visitor.form("/me")
    for path in ("/sign-out", "/set-up/totp", "/me/backup-codes"):
        for change, headers in (
            (fields, {"Origin": FOREIGN}),
            (fields, {"Origin": "null"}),
            (fields, {"Origin": "", "Sec_Fetch_Site": "cross-site"}),
            ({}, {}),
            ({"csrf": "x" * 43}, {}),
        ):
            answer = visitor.post(path, change, **headers)
            assert answer.status_code == 403, (path, change, headers, told(answer))
    # The JSON API does not take the cookie without the token either, nor a GET for a mutation.
    gateway = stack.gateway
    for method, path in (("DELETE", "/v1/session"), ("POST", "/v1/me/two-factor/totp"), ("PATCH", "/v1/me")):
        for origin in ({}, {"Origin": FOREIGN}):
            answer = visitor.http.request(
                method, gateway + path, headers=origin, json={} if method == "PATCH" else None
            )
            assert answer.status_code in (401, 403), (method, path, told(answer))
    assert visitor.http.get(visitor.base + "/sign-out").status_code in (404, 405)
    assert visitor.http.get(visitor.base + "/me").status_code == 200, "still signed in"
    assert visitor.post("/sign-out", visitor.form("/me")).status_code == 303
    assert visitor.http.get(visitor.base + "/me").status_code in (303, 401)


def test_a63_a_cookie_set_before_is_replaced_at_sign_in(stack: Stack, shared: Clinic) -> None:
    visitor = Visitor(stack).sign_in(shared)
    first = {cookie.name: cookie.value for cookie in visitor.http.cookies.jar}
    again = Visitor(stack)
    for cookie in visitor.http.cookies.jar:
        again.http.cookies.set(cookie.name, cookie.value or "", domain="127.0.0.1", path="/")
    person = shared.person()
    path = f"/c/{shared.slug}"
    page = again.http.get(again.base + path)
    if page.status_code == 200:
        fields = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]}
        answer = again.post(path, {**fields, "email": person.email, "password": person.password})
        assert answer.status_code in (303, 403), told(answer)
        if answer.status_code == 303:
            # Which clinic, and which browser, is no secret between the two, and opens nothing.
            stays = ("-clinic", "-browser")
            assert not set(first.items()) & {
                (c.name, c.value) for c in again.http.cookies.jar if not c.name.endswith(stays)
            }


def test_the_same_paths_answer_with_and_without_the_public_prefix(stack: Stack, shared: Clinic) -> None:
    prefix = urlsplit(stack.public_url).path
    _, client = shared.member()
    for path in ("/v1/session", f"/c/{shared.slug}", "/openapi.json", "/healthz", "/readyz"):
        for start in {"", prefix}:
            assert client.get(start + path).status_code == 200, start + path
    problem(client.get(f"{prefix}/v1/nothing"), 404, "not-found")
    page = client.get(f"{prefix}/c/{shared.slug}", token=None).text
    links = re.findall(r'(?:href|action|src)="(/[^"]*)"', page)
    assert links
    assert all(link.startswith(f"{prefix}/") for link in links), links
    for link in links:
        assert client.get(link, token=None).status_code in (200, 303, 405), link


def test_a64_a_poisoned_host_changes_no_link(stack: Stack, shared: Clinic) -> None:
    user = {"email": f"h-{secrets.token_hex(4)}@harbour.example", "name": "Hal", "role": "practitioner"}
    poisoned = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    answer = shared.desk.post("/v1/users", user, headers=poisoned)
    if answer.status_code in (400, 421):
        return
    url = ok(answer, 201)["activation"]["url"]
    assert url.startswith(stack.public_url + "/")
    page = shared.client().get(f"/c/{shared.slug}", headers=poisoned, token=None)
    assert "evil.example" not in page.text
    assert "evil.example" not in str(page.headers)


def test_every_page_has_the_headers_that_keep_it_safe(stack: Stack, shared: Clinic) -> None:
    client = shared.client()
    page = client.get(f"/c/{shared.slug}")
    assert page.status_code == 200
    assert 'autocomplete="current-password"' in page.text
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src" in policy
    _, member = shared.member()
    answers = [page, member.get("/v1/session"), member.get("/v1/nothing"), client.get("/v1/session")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff", answer.request.url
        assert "no-store" in answer.headers["cache-control"], answer.request.url
        assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin", "strict-origin"), answer.request.url
        server = answer.headers.get("server", "")
        assert not re.search(r"\d", server), f"{server!r} tells a version"
    if stack.public_url.startswith("https"):
        assert page.headers["strict-transport-security"]


def test_a_page_of_an_unknown_clinic_tells_nothing(stack: Stack, shared: Clinic) -> None:
    client = stack.client()
    known, unknown = client.get(f"/c/{shared.slug}"), client.get("/c/no-such-clinic")
    assert (known.status_code, unknown.status_code) == (200, 200)
    assert shared.name not in known.text


def test_metrics_and_documentation_pages_are_not_public(stack: Stack) -> None:
    client = stack.client()
    for path in (
        "/metrics",
        "/docs",
        "/redoc",
        "/.git/config",
        "/static/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
    ):
        assert client.get(path).status_code in (404, 403, 405), path


def test_health_and_readiness(stack: Stack) -> None:
    client = stack.client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


@pytest.mark.local_only("reads the processes' log files")
def test_a_request_id_follows_a_request_through_every_service(local: LocalStack, shared: Clinic) -> None:
    _, client = shared.member()
    number = new_number()
    request_id = f"follow-{secrets.token_hex(8)}"
    sent = client.post("/v1/me/two-factor/sms", {"phone": number}, headers={"X-Request-Id": request_id})
    ok(sent, 202)
    assert sent.headers["x-request-id"] == request_id
    local.text(number)
    wanted = {"identity", "otp", "notifier", "worker"}
    ends_at = time.monotonic() + 5
    found: set[str] = set()
    while not wanted <= found and time.monotonic() < ends_at:
        found = {name.removesuffix(".log") for name, text in local.logs().items() if request_id in text}
        time.sleep(0.1)
    assert wanted <= found, found
    for name, text in local.logs().items():
        for line in text.splitlines():
            if request_id in line:
                assert json.loads(line)["request_id"] == request_id, (name, line)


def test_a_request_id_that_could_harm_a_log_is_replaced(stack: Stack) -> None:
    client = stack.client()
    for evil in ("short", "x" * 500, "with spaces in it", '{"json": true}', "a;b;c;d;e;f"):
        answer = client.get("/v1/session", headers={"X-Request-Id": evil})
        assert answer.headers["x-request-id"] != evil
        assert problem(answer, 401, "unauthenticated")["request_id"] == answer.headers["x-request-id"]


def test_a04_an_address_that_only_the_client_claims_changes_no_limit(shared: Clinic) -> None:
    """Eleven wrong passwords from one address, each claiming another beyond the one hop that is believed."""
    person = shared.person()
    client = shared.client()
    real = client.http.headers.get("X-Forwarded-For")
    answers = []
    for number in range(12):
        forged = {"Forwarded": f"for=203.0.113.{number}", "X-Real-IP": f"203.0.113.{number}"}
        forged["X-Forwarded-For"] = f"203.0.113.{number}" + (f", {real}" if real else "")
        wrong = {"clinic": person.clinic, "email": person.email, "password": "Not-this-one-48"}
        answers.append(client.post("/v1/sessions", wrong, headers=forged))
    assert [answer.status_code for answer in answers[:10]] == [401] * 10
    problem(answers[-1], 429, "too-many-attempts")
    # A12: the owner elsewhere notices nothing.
    if real:
        assert shared.client().sign_in(person)["state"] == "active"
