"""Whatever is sent, the answer is the contract's problem, nothing is lost, and every process is alive afterwards."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.client import Client, Person, new_number, ok, problem, told
from tests.end_to_end.clinics import Clinic

JSON = {"Content-Type": "application/json"}

# Every route that takes a body, with one that would be good; {enrolment} and {user} are filled in.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/sessions"): {"clinic": "x", "email": "x@harbour.example", "password": "x"},
    ("POST", "/v1/session/second-factor"): {"method": "totp", "code": "123456"},
    ("PATCH", "/v1/me"): {"name": "Grace"},
    ("POST", "/v1/me/phone"): {"phone": "+12025550123"},
    ("POST", "/v1/me/phone/confirm"): {"code": "123456"},
    ("PUT", "/v1/me/password"): {"current_password": "x", "new_password": "Another-tall-tale-71"},
    ("POST", "/v1/me/two-factor/totp/{enrolment}/confirm"): {"code": "123456"},
    ("POST", "/v1/me/two-factor/sms"): {"phone": "+12025550123"},
    ("POST", "/v1/me/two-factor/sms/{enrolment}/confirm"): {"code": "123456"},
    ("PATCH", "/v1/clinic/security"): {"phone_required": True},
    ("POST", "/v1/users"): {"email": "x@harbour.example", "name": "X", "role": "practitioner"},
    ("PATCH", "/v1/users/{user}"): {"disabled": False},
    ("POST", "/v1/activations/none"): {"password": "Another-tall-tale-71"},
}
ROUTES = list(BODIES)


@pytest.fixture(scope="module", autouse=True)
def everything_is_alive_afterwards(shared: Clinic) -> Iterator[None]:
    yield
    shared.stack.ready(5)
    _, client = shared.member()
    number = new_number()
    ok(client.post("/v1/me/two-factor/sms", {"phone": number}), 202)
    assert shared.stack.text(number), "the worker still sends"
    assert client.state() == "active"


@pytest.fixture(scope="module")
def admin(shared: Clinic) -> tuple[Person, Client]:
    """An administrator with an active session, who sends all this."""
    return shared.member("admin")


def answered(client: Client, method: str, path: str, json: Any = ..., **options: Any) -> httpx.Response:
    """Asked again where a busy machine says "in a moment": what is judged here is the answer to what was sent."""
    answer = client.call(method, path, json, **options)
    for _ in range(3):
        if answer.status_code != 503:
            break
        time.sleep(answer.json()["retry_after"])
        answer = client.call(method, path, json, **options)
    return answer


def filled(path: str, person: Person) -> str:
    return path.replace("{enrolment}", "enr_none").replace("{user}", person.id)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: str(part))
def test_a_body_that_is_no_object_of_the_contract(admin: tuple[Person, Client], method: str, path: str) -> None:
    person, client = admin
    good = BODIES[(method, path)]
    path = filled(path, person)
    for content in (b"null", b"[]", b'""', b"7", b"{}x", b'{"code": NaN', b"\xff\xfe", b"{", b"[" * 60_000):
        answer = answered(client, method, path, content=content, headers=JSON)
        slug = {400: "bad-request", 422: "invalid-request"}.get(answer.status_code)
        assert slug, f"{content[:20]!r}: {told(answer)}"
        problem(answer, answer.status_code, slug)
    unknown = answered(client, method, path, {**good, "aal": 2, "user_id": "usr_1"})
    problem(unknown, 422, "invalid-request")
    assert client.state() == "active"


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: str(part))
def test_fields_of_the_wrong_kind(admin: tuple[Person, Client], method: str, path: str) -> None:
    person, client = admin
    good = BODIES[(method, path)]
    path = filled(path, person)
    for name in good:
        for value in ([], {}, 7, 1e308, "\u0000", "a\u0000b", [good[name]], {"$ne": ""}):
            answer = answered(client, method, path, {**good, name: value})
            assert answer.status_code in (401, 404, 409, 410, 422), f"{name}={value!r}: {told(answer)}"
        # A lone surrogate is no text: it can neither be hashed nor stored.
        text = json.dumps({**good, name: "\ud800x"})
        answer = answered(client, method, path, content=text.encode(), headers=JSON)
        assert answer.status_code in (400, 401, 404, 409, 410, 422), f"{name}: {told(answer)}"


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: str(part))
def test_a62_another_content_type_is_refused(admin: tuple[Person, Client], method: str, path: str) -> None:
    person, client = admin
    content = json.dumps(BODIES[(method, path)]).encode()
    path = filled(path, person)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json"):
        answer = client.call(method, path, content=content, headers={"Content-Type": kind})
        problem(answer, 415, "unsupported-media-type")


def test_a72_ten_megabytes_are_too_large(admin: tuple[Person, Client]) -> None:
    _, client = admin
    huge = b'{"email": "' + b"x" * 10_000_000 + b'"}'
    for method, path in (("POST", "/v1/sessions"), ("PATCH", "/v1/me")):
        problem(sent(client, method, path, huge), 413, "too-large")

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(huge), 65_536):
            yield huge[start : start + 65_536]

    problem(sent(client, "POST", "/v1/sessions", pieces()), 413, "too-large")
    long_password = {"clinic": "x", "email": "x@harbour.example", "password": "x" * 10_000}
    assert client.post("/v1/sessions", long_password).status_code in (401, 422)


def sent(client: Client, method: str, path: str, content: bytes | Iterator[bytes]) -> httpx.Response:
    """A large body on a connection of its own, which the server may close early."""
    with httpx.Client(base_url=client.gateway, trust_env=False, timeout=15) as http:
        headers = {**JSON, "Authorization": f"Bearer {client.token}"}
        return http.request(method, path, content=content, headers=headers)


def test_paths_and_methods_that_are_not_there(admin: tuple[Person, Client]) -> None:
    _, client = admin
    for path in (
        "/v1/nothing",
        "/v1/users/",
        "/v1",
        "/v1/users/%00",
        "/v1/users/..%2f..%2fetc",
    ):
        answer = client.get(path, follow_redirects=False)
        problem(answer, 404, "not-found")
    for method, path in (
        ("PUT", "/v1/sessions"),
        ("GET", "/v1/sessions"),
        ("POST", "/v1/session"),
        ("DELETE", "/v1/me"),
    ):
        answer = client.call(method, path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"]
    assert client.call("TRACE", "/v1/session").status_code == 405


def test_query_values_that_make_no_sense(admin: tuple[Person, Client]) -> None:
    _, client = admin
    for query in ("limit=0", "limit=-1", "limit=abc", "limit=99999999999999999999", "cursor=%00", "cursor=nonsense"):
        answer = client.get(f"/v1/users?{query}")
        problem(answer, *((400, "bad-request") if answer.status_code == 400 else (422, "invalid-request")))
    ok(client.get("/v1/users", params={"q": "%_'\";--\u202e"}))


def test_ids_of_nobody_and_nothing(admin: tuple[Person, Client]) -> None:
    _, client = admin
    for made_up in ("usr_none", "usr_" + "0" * 32, "enr_" + "0" * 32, "ses_x", "1", "null", "🦀", "%20", "x" * 5000):
        for method, path, body in (
            ("GET", "/v1/users/{id}", ...),
            ("PATCH", "/v1/users/{id}", {"disabled": True}),
            ("DELETE", "/v1/me/sessions/{id}", ...),
            ("GET", "/v1/me/two-factor/totp/{id}/qr.svg", ...),
            ("POST", "/v1/me/two-factor/totp/{id}/confirm", {"code": "123456"}),
            ("POST", "/v1/me/two-factor/sms/{id}/confirm", {"code": "123456"}),
        ):
            answer = client.call(method, path.replace("{id}", made_up), body)
            problem(answer, 404, "not-found")
    for token in ("x", "0" * 43, "🦀", "x" * 5000):
        answer = client.post(f"/v1/activations/{token}", {"password": "Another-tall-tale-71"})
        problem(answer, 404, "not-found")


def test_a42_a_client_chooses_no_secret(shared: Clinic) -> None:
    _, client = shared.member()
    problem(client.post("/v1/me/two-factor/totp", {"secret": "A" * 32}), 422, "invalid-request")


def test_a44_a_foreign_or_superseded_enrolment_is_refused_and_the_old_factor_stays(shared: Clinic) -> None:
    person, client = shared.enrolled()
    _, stranger = shared.member()
    theirs = stranger.start_totp()["enrolment_id"]
    problem(client.post(f"/v1/me/two-factor/totp/{theirs}/confirm", {"code": "123456"}), 404, "not-found")
    problem(client.get(f"/v1/me/two-factor/totp/{theirs}/qr.png"), 404, "not-found")

    mine = client.start_totp()["enrolment_id"]
    elsewhere = shared.client()
    elsewhere.sign_in(person)
    elsewhere.prove(person)
    newer = elsewhere.start_totp()["enrolment_id"]
    assert newer != mine
    problem(client.post(f"/v1/me/two-factor/totp/{mine}/confirm", {"code": "123456"}), 410, "gone")
    problem(client.get(f"/v1/me/two-factor/totp/{mine}/qr.png"), 410, "gone")
    assert ok(elsewhere.get("/v1/me/two-factor"))["enabled"] is True


def test_a43_the_secret_is_gone_once_confirmed(shared: Clinic) -> None:
    person, client = shared.member()
    enrolment = client.start_totp()
    shown = client.get(f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}/qr.svg")
    assert shown.status_code == 200
    assert "no-store" in shown.headers["cache-control"]
    client.enrol_totp(person)
    for kind in ("qr.png", "qr.svg"):
        problem(client.get(f"/v1/me/two-factor/totp/{enrolment['enrolment_id']}/{kind}"), 410, "gone")


def test_a61_a_name_with_control_characters_stays_one_line_in_the_log(shared: Clinic) -> None:
    client = shared.client()
    evil = 'x\r\n{"event": "forged-entry-31"}\x1b[31m@harbour.example'
    answer = client.post("/v1/sessions", {"clinic": shared.slug, "email": evil, "password": "x"})
    assert answer.status_code in (401, 422), told(answer)
    for text in shared.stack.logs().values():
        assert '\n{"event": "forged-entry-31"}' not in text
        assert "\x1b[31m@harbour" not in text
