"""R23: the first sign-in from a browser that somebody was not seen in before is told; browsers are known again by a
cookie, and clients without one by what they call themselves."""

from datetime import timedelta

import pytest

from services.identity.browsers import family_of, words_of
from services.identity.store.seen_browsers import MOST_BROWSERS
from services.otp import backup_codes
from tests.identity.people import PASSWORD, Person, Stack
from tests.identity.told import FIREFOX, SAFARI, kinds, shown, sign_in_by_pages, told


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def sign_in_with(person: Person, user_agent: str, **more: object) -> dict[str, str]:
    """Password and code, from an API client that calls itself so."""
    stack, headers = person.stack, {"User-Agent": user_agent}
    stack.clock.advance(timedelta(minutes=1))
    who = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}
    opened = (await stack.call("POST", "/v1/sessions", who, **headers)).json()
    body = {"method": "totp", "code": person.code(), **more}
    proven = await stack.call("POST", "/v1/session/second-factor", body, token=opened["token"], **headers)
    assert proven.status_code == 200, proven.text
    answer: dict[str, str] = proven.json()
    person.token = answer["token"]
    return answer


async def news(person: Person) -> int:
    return (await kinds(person)).count("new_browser")


async def test_r23_the_first_sign_in_from_a_new_client_is_told_and_the_very_first_is_not(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    assert await news(person) == 0
    await sign_in_with(person, FIREFOX)
    assert await news(person) == 1
    await sign_in_with(person, FIREFOX.replace("133.0", "134.0"))
    assert await news(person) == 1, "brought up to date, it is the same"
    await sign_in_with(person, SAFARI)
    await sign_in_with(person, SAFARI)
    await sign_in_with(person, FIREFOX)
    assert await news(person) == 2
    sentences = [notice["sentence"] for notice in await shown(person) if notice["kind"] == "new_browser"]
    assert sentences[0] == (
        "Your account was signed in to from a new browser on 16 November at 09:34 (Europe/London), from 192.0.2.7,"
        " Safari on iPhone. If that was not you, tell your administrator."
    )


async def test_a_password_alone_from_a_new_client_is_no_sign_in(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    who = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}
    opened = await person.stack.call("POST", "/v1/sessions", who, **{"User-Agent": FIREFOX})
    refused = await person.prove(person.wrong_code(), token=opened.json()["token"])
    assert refused.status_code == 422
    assert await news(person) == 0


async def test_r23_whoever_has_no_second_factor_is_told_of_a_new_browser_at_the_password(
    stack: Stack, person: Person
) -> None:
    who = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}

    async def sign_in_by_password(user_agent: str) -> None:
        opened = await stack.call("POST", "/v1/sessions", who, **{"User-Agent": user_agent})
        assert opened.json()["state"] == "active"
        person.token = opened.json()["token"]

    await sign_in_by_password(FIREFOX)
    assert await news(person) == 0, "an account's very first sign-in is no news"
    await sign_in_by_password(FIREFOX)
    assert await news(person) == 0
    await sign_in_by_password(SAFARI)
    await sign_in_by_password(SAFARI)
    assert await news(person) == 1
    assert "Safari on iPhone" in (await shown(person))[0]["sentence"]
    mails = [(notice.email, notice.phone) for notice in await told(stack, person)]
    assert mails == [(person.email, "")]


async def test_a_password_that_leads_to_setting_up_alone_is_told_with_the_factor(stack: Stack, person: Person) -> None:
    """Such a session reaches nothing; what it sets up is told."""
    await person.sign_in()
    await person.clinic.require_here(phone_required=False)
    who = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD}
    opened = await stack.call("POST", "/v1/sessions", who, **{"User-Agent": FIREFOX})
    assert opened.json()["state"] == "enrolment_required"
    assert stack.sql("SELECT 1 FROM notice WHERE user_id = %s", [person.id]) == []


async def test_a_copied_device_token_is_told_from_the_client_that_brings_it(person: Person) -> None:
    await person.clinic.require_here(require_two_factor=False, remember_device_days=30)
    await person.sign_in()
    await person.enrol_totp()
    token = (await sign_in_with(person, FIREFOX, remember_device=True))["device_token"]
    before = await news(person)
    who = {"clinic": person.clinic.slug, "email": person.email, "password": PASSWORD, "device_token": token}
    again = (await person.stack.call("POST", "/v1/sessions", who, **{"User-Agent": FIREFOX})).json()
    assert (again["state"], await news(person)) == ("active", before)
    who["device_token"] = again["device_token"]
    elsewhere = (await person.stack.call("POST", "/v1/sessions", who, **{"User-Agent": SAFARI})).json()
    assert (elsewhere["state"], await news(person)) == ("active", before + 1)


async def test_the_pages_know_a_browser_again_by_its_cookie_whatever_it_calls_itself(
    stack: Stack, person: Person
) -> None:
    await person.sign_in()
    await person.enrol_totp()
    async with stack.client(**{"User-Agent": FIREFOX}) as first, stack.client(**{"User-Agent": FIREFOX}) as second:
        await sign_in_by_pages(first, person)
        assert await news(person) == 1
        first.headers["User-Agent"] = SAFARI
        await sign_in_by_pages(first, person)
        assert await news(person) == 1
        await sign_in_by_pages(second, person)
        assert await news(person) == 2
        # It says which browser it is, and to whom it belongs says only our key.
        assert first.cookies["countersign-browser"] != second.cookies["countersign-browser"]
    known = stack.sql("SELECT digest FROM seen_browser WHERE user_id = %s", [person.id])
    assert first.cookies["countersign-browser"].encode() not in [bytes(row["digest"]) for row in known]


async def test_another_person_in_a_known_browser_is_told_of_it(stack: Stack, person: Person) -> None:
    other = await person.clinic.person()
    for one in (person, other):
        await one.sign_in()
        await one.enrol_totp()
    async with stack.client() as client:
        await sign_in_by_pages(client, person)
        await sign_in_by_pages(client, other)
    assert (await news(person), await news(other)) == (1, 1)


async def test_of_each_person_the_latest_browsers_are_kept(person: Person) -> None:
    await person.sign_in()
    await person.enrol_totp()
    stack = person.stack
    for number in range(MOST_BROWSERS + 5):
        stack.sql(
            "INSERT INTO seen_browser (user_id, digest, seen_at) VALUES (%s, decode(md5(%s), 'hex'), %s)",
            [person.id, str(number), stack.clock.now() - timedelta(days=400 - number)],
        )
    await sign_in_with(person, FIREFOX)
    kept = stack.sql("SELECT count(*) AS n FROM seen_browser WHERE user_id = %s", [person.id])
    assert kept == [{"n": MOST_BROWSERS}]
    await sign_in_with(person, FIREFOX)
    assert await news(person) == 1


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Windows"),
        (SAFARI, "Safari on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"
            " Safari/537.36 Edg/131.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"
            " Safari/537.36",
            "Chrome on Mac",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0"
            " Chrome/125.0.0.0 Mobile Safari/537.36",
            "Samsung Internet on Android",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73"
            " Mobile/15E148 Safari/604.1",
            "Chrome on iPad",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Nothing; we know)", ""),
        ("python-httpx/0.28.1", ""),
        ("", ""),
    ],
)
def test_a_browser_in_words(user_agent: str, words: str) -> None:
    assert words_of(user_agent) == words
    assert family_of(user_agent) == (words or user_agent.partition("/")[0])
