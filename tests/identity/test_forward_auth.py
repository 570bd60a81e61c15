"""What a reverse proxy is told of a request: who sends it, or where it is led (forward-auth). The cookie comes with the
headers of the request that the proxy holds, so the rules of where it may come from hold for that one."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.identity.model import Scope
from services.identity.pages.wanted import prefers_html
from services.identity.return_to import checked, of_forwarded
from tests.identity.people import Person, SomeClinic, Stack, slug_of

PATH = "/v1/forward-auth"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FOUR = ("x-countersign-user", "x-countersign-clinic", "x-countersign-role", "x-countersign-acr")


def asked(method: str = "GET", uri: str = "/letters?page=2", **more: str) -> dict[str, str]:
    """The headers that Caddy sends with the question."""
    return {
        "X-Forwarded-Method": method,
        "X-Forwarded-Uri": uri,
        "X-Forwarded-Host": "127.0.0.1:8080",
        "X-Forwarded-Proto": "http",
        **more,
    }


async def by_cookie(person: Person, **headers: str) -> httpx.Response:
    return await person.stack.call("GET", PATH, Cookie=f"countersign={person.token}", **headers)


def told(response: httpx.Response) -> tuple[str | None, ...]:
    return tuple(response.headers.get(name) for name in FOUR)


async def test_an_active_session_passes_with_all_four_headers_by_bearer_and_by_cookie(person: Person) -> None:
    await person.sign_in()
    expected = (person.id, person.clinic.id, "practitioner", "aal1")
    for response in (await person.call("GET", PATH, **asked()), await by_cookie(person, **asked())):
        assert (response.status_code, response.content, told(response)) == (200, b"", expected)
    await person.enrol_totp()
    response = await by_cookie(person, **asked("POST", Origin=person.stack.settings.public_origin))
    assert (response.status_code, told(response)) == (200, (*expected[:3], "aal2"))


async def test_what_the_request_claims_about_itself_is_not_repeated(person: Person) -> None:
    await person.sign_in()
    forged = dict.fromkeys(FOUR, "admin")
    response = await by_cookie(person, **asked(**forged))
    assert told(response) == (person.id, person.clinic.id, "practitioner", "aal1")
    nobody = await person.stack.call("GET", PATH, **asked(**forged))
    assert (nobody.status_code, told(nobody)) == (401, (None,) * 4)


async def test_every_other_state_is_refused_with_the_problem_and_a_browsers_get_is_led_on(
    stack: Stack, clinic: SomeClinic
) -> None:
    pending, enrolling, revoked = [await clinic.person() for _ in range(3)]
    for one in (pending, revoked):
        await one.sign_in()
        await one.enrol_totp()
    await pending.sign_in()
    await revoked.call("DELETE", "/v1/session")
    await clinic.require_here(phone_required=False)
    await enrolling.sign_in()
    expected: list[tuple[Person, int, str, str, dict[str, list[str]]]] = [
        (pending, 403, "second-factor-required", "/code", {}),
        (enrolling, 403, "enrolment-required", "/set-up", {}),
        (revoked, 401, "unauthenticated", "/", {"done": ["over"]}),
    ]
    for person, status, slug, page, query in expected:
        refused = await by_cookie(person, **asked(Accept="application/json"))
        assert (refused.status_code, slug_of(refused), told(refused)) == (status, slug, (None,) * 4)
        assert (await person.call("GET", PATH, **asked(Accept="application/json"))).status_code == status
        led = await by_cookie(person, **asked(Accept=BROWSER))
        assert (led.status_code, told(led)) == (303, (None,) * 4)
        parts = urlsplit(led.headers["location"])
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{stack.settings.public_url}{page}"
        back = f"{stack.settings.public_origin}/letters?page=2"
        assert parse_qs(parts.query) == {**query, "return_to": [back]}
        posted = await by_cookie(person, **asked("POST", Accept=BROWSER, Origin=stack.settings.public_origin))
        assert posted.status_code == status


async def test_a_browser_that_has_signed_in_before_is_led_to_its_own_clinics_page(stack: Stack) -> None:
    led = await stack.call("GET", PATH, Cookie="countersign-clinic=harbour", **asked(Accept=BROWSER))
    assert urlsplit(led.headers["location"]).path == "/c/harbour"


async def test_a64_nobody_is_led_back_to_where_we_are_not(stack: Stack) -> None:
    own = await stack.another_app(public_url="https://app.harbour.example/auth", allowed_origins="https://b.example")
    for host, uri, back in (
        ("app.harbour.example", "/x?y=1", "https://app.harbour.example/x?y=1"),
        ("app.harbour.example", "//evil.example/x", "https://app.harbour.example//evil.example/x"),
        ("b.example", "/x", "https://b.example/x"),
        ("evil.example", "/x", None),
        ("app.harbour.example.evil.example", "/x", None),
        ("app.harbour.example@evil.example", "/x", None),
        ("app.harbour.example", "\\\\evil.example", None),
        ("app.harbour.example", "evil", None),
    ):
        headers = asked(Accept=BROWSER, uri=uri) | {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
        led = await own.call("GET", "/auth" + PATH, **headers)
        assert led.status_code == 303
        parts = urlsplit(led.headers["location"])
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "app.harbour.example", "/auth/")
        assert parse_qs(parts.query).get("return_to", [None]) == [back]


async def test_a62_a_cookie_counts_only_for_what_our_own_pages_made_the_browser_send(person: Person) -> None:
    own = person.stack.settings.public_origin
    await person.sign_in()
    for headers, status in (
        (asked("POST", Origin=own), 200),
        (asked("GET", **{"Sec-Fetch-Site": "cross-site"}), 200),  # a link that somebody followed
        (asked("GET", Origin="https://evil.example"), 401),
        (asked("GET", Origin="https://app.harbour.example"), 401),  # allowed to call with a bearer token, no more
        (asked("POST", Origin="https://evil.example"), 401),
        (asked("POST", Origin="null"), 401),
        (asked("DELETE", **{"Sec-Fetch-Site": "same-site"}), 401),
        (asked("POST", Origin=own, **{"Sec-Fetch-Site": "cross-site"}), 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),  # a proxy that does not say what is asked
        ({}, 200),
    ):
        response = await by_cookie(person, **headers)
        assert response.status_code == status, headers
        if status == 200:
            assert (await person.call("GET", PATH, **headers)).status_code == 200
    bearer = await person.call("GET", PATH, **asked("POST", Origin="https://app.harbour.example"))
    assert bearer.status_code == 200


async def test_the_idle_time_is_renewed_unless_nobody_is_there(person: Person) -> None:
    await person.sign_in()
    for _ in range(3):
        person.stack.clock.advance(timedelta(minutes=20))
        assert (await by_cookie(person, **asked())).status_code == 200
    person.stack.clock.advance(timedelta(minutes=20))
    background = asked(**{"X-Countersign-Background": "1"})
    assert (await by_cookie(person, **background)).status_code == 200
    person.stack.clock.advance(timedelta(minutes=10))
    over = await by_cookie(person, **background)
    assert (over.status_code, over.json()["cause"]) == (401, "idle")
    led = await by_cookie(person, **asked(Accept=BROWSER))
    assert parse_qs(urlsplit(led.headers["location"]).query)["done"] == ["idle"]


async def test_an_app_s_key_is_nobody_and_passes_nowhere(stack: Stack, clinic: SomeClinic) -> None:
    _, key = await stack.gateway.apps.create(clinic.slug, "ledger", list(Scope))
    refused = await stack.call("GET", PATH, token=key, **asked(Accept=BROWSER))
    assert (refused.status_code, slug_of(refused), told(refused)) == (403, "forbidden", (None,) * 4)


async def test_p10_with_policy_away_it_is_said_and_nobody_is_led_anywhere(person: Person) -> None:
    await person.sign_in()
    await person.stack.stop_policy()
    person.stack.clock.advance(timedelta(seconds=2))
    response = await by_cookie(person, **asked(Accept=BROWSER))
    assert (response.status_code, slug_of(response), told(response)) == (503, "unavailable", (None,) * 4)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML; q=0.5, application/json;q=0.4", True),
        ("application/json, text/html;q=0.9", False),
        ("application/problem+json, text/html;q=0.2", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_a_page_is_for_whoever_prefers_html(accept: str, wanted: bool) -> None:
    assert prefers_html(accept) is wanted


PUBLIC = "https://app.example"


@pytest.mark.parametrize(
    ("candidate", "whole"),
    [
        ("/x?y=1#z", "https://app.example/x?y=1#z"),
        ("https://app.example", "https://app.example"),
        ("https://app.example/x", "https://app.example/x"),
        ("https://other.example?x", "https://other.example?x"),
        ("//evil.example", None),
        ("/\\evil.example", None),
        ("https://evil.example/x", None),
        ("https://app.example.evil.example/", None),
        ("https://app.example@evil.example/", None),
        ("https://app.example:444/", None),
        ("https:app.example/x", None),
        ("http://app.example/", None),
        ("HTTPS://app.example/x", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("/x\r\nSet-Cookie: a=b", None),
        ("/\t/evil.example", None),
        ("/ünder", None),
        ("x", None),
        ("", None),
        ("https://[evil", None),
        ("/" + "x" * 2000, None),
    ],
)
def test_a64_an_address_leads_back_to_the_public_host_and_allowed_origins_alone(
    candidate: str, whole: str | None
) -> None:
    assert checked(candidate, PUBLIC, {"https://other.example"}) == whole


def test_of_what_a_proxy_forwards_only_a_path_on_a_known_host_is_kept() -> None:
    assert of_forwarded("http", "app.example", "/x", PUBLIC, set()) == "https://app.example/x"
    assert of_forwarded("https", "other.example", "/x", PUBLIC, {"https://other.example"}) == "https://other.example/x"
    assert of_forwarded("http", "other.example", "/x", PUBLIC, {"https://other.example"}) is None
    assert of_forwarded("https", "app.example", ".evil.example/x", PUBLIC, set()) is None
    assert of_forwarded("https", "", "/x", PUBLIC, set()) is None
