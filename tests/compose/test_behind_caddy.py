"""An app behind the real Caddy and the sign-in, below one host: what reaches it, and who does. Its back end asks over
gRPC. The stack is up with tests/compose/with_app.yml and PUBLIC_URL=https://localhost/auth."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.end_to_end.stack import ROOT, ComposeStack

PUBLIC = "https://localhost"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PASSWORD = "tidal harbour gravel moon"
Json = dict[str, Any]


@dataclass
class Site:
    """The host as a client reaches it; nothing is followed and no cookie kept but what a test sends."""

    client: httpx.Client
    clinic: str
    user_id: str
    clinic_id: str
    email: str
    token: str

    def call(self, method: str, path: str, cookie: str = "", **more: Any) -> httpx.Response:
        headers = {"Host": "localhost", **more.pop("headers", {})}
        if cookie:
            headers["Cookie"] = cookie
        self.client.cookies.clear()
        return self.client.request(method, path, headers=headers, extensions={"sni_hostname": "localhost"}, **more)

    @property
    def cookie(self) -> str:
        return f"__Host-countersign={self.token}"

    def reached(self, method: str, path: str, cookie: str = "", **more: Any) -> Json:
        """What the app saw of a request that passes."""
        response = self.call(method, path, cookie or self.cookie, **more)
        assert response.status_code == 200, response.text
        told: Json = response.json()
        return told

    def signed_in(self) -> str:
        body = {"clinic": self.clinic, "email": self.email, "password": PASSWORD}
        response = self.call("POST", "/auth/v1/sessions", json=body)
        assert response.status_code == 201, response.text
        return str(response.json()["token"])


def countersign(told: Json) -> dict[str, list[str]]:
    """Every header that reached the app with our name in it."""
    found: dict[str, list[str]] = {}
    for name, value in told["headers"]:
        if "countersign" in name:
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    stack = ComposeStack()
    slug = f"harbour-{uuid.uuid4().hex[:8]}"
    email = "ada@harbour.example"
    made = stack.create_clinic(slug, "Harbour Clinic", email)
    stack.close()
    with httpx.Client(base_url=os.environ["EDGE"], verify=False, trust_env=False, timeout=20) as client:
        one = Site(client, slug, made["user_id"], made["clinic_id"], email, "")
        used = one.call("POST", f"/auth/v1/activations/{made['activation_token']}", json={"password": PASSWORD})
        assert used.status_code == 204, used.text
        one.token = one.signed_in()
        yield one


def own_headers(site: Site) -> dict[str, list[str]]:
    return {
        "x-countersign-user": [site.user_id],
        "x-countersign-clinic": [site.clinic_id],
        "x-countersign-role": ["admin"],
        "x-countersign-acr": ["aal1"],
    }


def test_whoever_is_signed_in_reaches_the_app_and_it_knows_who(site: Site) -> None:
    told = site.reached("GET", "/letters?page=2")
    assert (told["method"], told["path"]) == ("GET", "/letters?page=2")
    assert countersign(told) == own_headers(site)
    by_bearer = site.call("GET", "/letters", headers={"Authorization": f"Bearer {site.token}"}).json()
    assert countersign(by_bearer) == own_headers(site)


FORGED = [
    ("X-Countersign-User", "usr_of_somebody_else"),
    ("X-Countersign-Acr", "aal2"),
    ("x-countersign-role", "admin"),
    ("X-COUNTERSIGN-CLINIC", "cli_elsewhere"),
    ("X_Countersign_User", "usr_of_somebody_else"),  # read as the same name by WSGI, CGI and PHP
    ("X-Countersign_Role", "admin"),
    ("X-Countersign-Anything", "x"),
    ("X-Countersign-Background", "1"),
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Uri", "/elsewhere"),
]


def test_forged_headers_reach_nobody(site: Site) -> None:
    own, elsewhere = {"Cookie": site.cookie}, [*FORGED, *FORGED]
    answers = [
        site.client.get("/letters", headers=[("Host", "localhost"), *cookie.items(), *elsewhere])
        for cookie in (own, {})
    ]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert countersign(answers[0].json()) == own_headers(site)


def test_our_cookies_stay_with_us_and_the_others_go_on(site: Site) -> None:
    ours = f"{site.cookie}; __Host-countersign-clinic=harbour; __Host-countersign-form=x"
    for sent, seen in (
        (f"a=1; {ours}; b=2", "a=1; b=2"),
        (f"{ours}; b=2", "b=2"),
        (f"a=1; {ours}", "a=1"),
        (f"mycountersign=1; {ours}", "mycountersign=1"),
        (ours, None),
    ):
        headers = dict(site.reached("GET", "/", sent)["headers"])
        assert headers.get("cookie") == seen
        assert site.token not in json.dumps(headers)


def test_a_stranger_reaches_nothing_and_a_browser_is_led_to_the_sign_in_and_back(site: Site) -> None:
    for method in ("GET", "POST", "DELETE"):
        refused = site.call(method, "/letters", "__Host-countersign=made-up")
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    led = site.call("GET", "/letters?page=2", headers=BROWSER)
    parts = urlsplit(led.headers["location"])
    assert (led.status_code, f"{parts.scheme}://{parts.netloc}{parts.path}") == (303, f"{PUBLIC}/auth/")
    assert parse_qs(parts.query) == {"return_to": [f"{PUBLIC}/letters?page=2"]}
    assert site.call("GET", f"{parts.path}?{parts.query}", headers=BROWSER).status_code in (200, 303)
    assert site.call("GET", f"/auth/c/{site.clinic}", headers=BROWSER).status_code == 200
    assert site.call("POST", "/letters", headers=BROWSER).status_code == 401


def test_a_change_reaches_the_app_whole_from_our_own_pages_and_not_from_elsewhere(site: Site) -> None:
    content = "x" * 100_000
    told = site.reached("POST", "/letters", content=content, headers={"Origin": PUBLIC})
    assert (told["method"], told["body"]) == ("POST", content)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert site.call("POST", "/letters", site.cookie, headers=headers).status_code == 401
    followed = site.call("GET", "/letters", site.cookie, headers={**BROWSER, "Sec-Fetch-Site": "cross-site"})
    assert followed.status_code == 200


def ask(token: str) -> str:
    """What the back end is told over gRPC: the user's id, or the refusal."""
    code = """
import asyncio, sys
from pathlib import Path
from countersign.identity.v1 import sessions_pb2, sessions_pb2_grpc
from services.common.errors import ServiceError
from services.common.rpc_client import Peer

async def ask():
    peer = Peer(sessions_pb2_grpc.SessionsStub, "dns:///identity:50051", "identity", Path("/run/tls"))
    try:
        answer = await peer.call(peer.stub.Authenticate, sessions_pb2.AuthenticateRequest(token=sys.argv[1]), 5.0)
        return answer.user_id
    except ServiceError as error:
        return error.code.value
    finally:
        await peer.close()

print(asyncio.run(ask()))
"""
    command = ["docker", "compose", "exec", "-T", "back-end", "python", "-c", code, token]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip().splitlines()[-1]


def test_a_back_end_asks_with_its_own_certificate(site: Site) -> None:
    assert ask(site.token) == site.user_id
    assert ask("made-up") == "unauthenticated"


def test_whoever_has_a_factor_is_stopped_before_the_app_until_the_code(site: Site) -> None:
    """Last: it gives the administrator a factor."""
    bearer = {"Authorization": f"Bearer {site.token}"}
    other = site.signed_in()
    started = site.call("POST", "/auth/v1/me/two-factor/totp", headers=bearer).json()
    import pyotp

    totp = pyotp.TOTP(started["secret"])
    path = f"/auth/v1/me/two-factor/totp/{started['enrolment_id']}/confirm"
    confirmed = site.call("POST", path, json={"code": totp.now()}, headers=bearer)
    assert confirmed.status_code == 200, confirmed.text
    site.token = confirmed.json()["session"]["token"]
    assert countersign(site.reached("GET", "/"))["x-countersign-acr"] == ["aal2"]
    ends_at = time.monotonic() + 10
    while (refused := site.call("GET", "/", f"__Host-countersign={other}")).status_code == 200:
        assert time.monotonic() < ends_at
    assert refused.json()["type"] == "urn:countersign:problem:second-factor-required"
    led = site.call("GET", "/", f"__Host-countersign={other}", headers=BROWSER)
    assert urlsplit(led.headers["location"]).path == "/auth/code"
    assert ask(other) == "second-factor-required"
