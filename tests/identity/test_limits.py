"""Wrong passwords: one answer for everybody, counted per account and network, right ones never (P13, A03, A12, A57)."""

import asyncio
from collections import Counter
from datetime import timedelta
from unittest.mock import patch

import pytest

from services.common.rate_limit import LimiterUnavailable, RedisRateLimiter
from services.identity.model import UserId
from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

WRONG = "not the password at all"


async def test_p13_every_failed_sign_in_looks_the_same(stack: Stack, clinic: SomeClinic) -> None:
    person, disabled, invited = await clinic.person(), await clinic.person(), await clinic.person(password=None)
    with_factor = await clinic.person()
    await with_factor.sign_in()
    await with_factor.enrol_totp()
    stack.sql("UPDATE app_user SET disabled_at = %s WHERE id = %s", [stack.clock.now(), disabled.id])
    answers = []
    for slug, email, password in (
        (clinic.slug, person.email, WRONG),
        (clinic.slug, "nobody@harbour.example", WRONG),
        ("no-such-clinic", person.email, PASSWORD),
        (clinic.slug, disabled.email, PASSWORD),
        (clinic.slug, disabled.email, WRONG),
        (clinic.slug, invited.email, WRONG),
        (clinic.slug, with_factor.email, WRONG),
    ):
        response = await stack.call("POST", "/v1/sessions", {"clinic": slug, "email": email, "password": password})
        body = response.json()
        del body["request_id"]
        headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
        answers.append((response.status_code, body, headers))
    assert answers[0][0] == 401
    assert answers[0][1]["type"].endswith("invalid-credentials")
    assert all(answer == answers[0] for answer in answers)


async def test_p13_every_failed_sign_in_does_the_same_work(stack: Stack, clinic: SomeClinic) -> None:
    person = await clinic.person()
    compared: list[str] = []
    passwords = stack.gateway.login._passwords
    original = passwords._compare

    def count(password: str, stored: str) -> bool:
        compared.append(stored[:20])
        return original(password, stored)

    before = stack.sql("SELECT count(*) AS n FROM audit_event")[0]["n"]
    with patch.object(passwords, "_compare", count):
        for email in (person.email, "nobody@harbour.example"):
            await stack.call("POST", "/v1/sessions", {"clinic": clinic.slug, "email": email, "password": WRONG})
    assert len(compared) == 2
    assert compared[0] == compared[1]  # Argon2id with the same parameters
    rows = stack.sql("SELECT * FROM audit_event ORDER BY seq OFFSET %s", [before])
    assert [(row["kind"], row["subject_id"], row["clinic_id"]) for row in rows] == [("session.refused", None, None)] * 2


@pytest.mark.parametrize("exists", [True, False])
async def test_ten_wrong_in_five_minutes_then_one_in_half_a_minute(
    stack: Stack, clinic: SomeClinic, exists: bool
) -> None:
    person = await clinic.person()
    if not exists:
        person.email = "nobody@harbour.example"
    for _ in range(10):
        assert (await person.try_sign_in(WRONG)).status_code == 401
    refused = await person.try_sign_in(WRONG)
    assert (refused.status_code, slug_of(refused)) == (429, "too-many-attempts")
    assert refused.headers["retry-after"] == str(refused.json()["retry_after"]) == "30"
    assert refused.json()["locked"] is False
    stack.clock.advance(timedelta(seconds=30))
    assert (await person.try_sign_in(WRONG)).status_code == 401
    assert (await person.try_sign_in(PASSWORD)).status_code == 429


async def test_a03_case_and_spaces_make_no_other_account(clinic: SomeClinic) -> None:
    person = await clinic.person()
    spelled = [person.email.upper(), f" {person.email}", person.email.title(), f"{person.email}\t", person.email] * 2
    for email in spelled:
        person.email = email
        assert (await person.try_sign_in(WRONG)).status_code == 401
    assert (await person.try_sign_in(WRONG)).status_code == 429


@pytest.mark.parametrize("guesses", [1_000, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_a12_a_strangers_guesses_keep_nobody_out(stack: Stack, clinic: SomeClinic, guesses: int) -> None:
    """A hundred times each from networks all over; the second factor is there, and its budget untouched."""
    person = await clinic.person()
    await person.sign_in()
    await person.enrol_totp()
    networks = [f"198.18.{number}" for number in range(guesses // 100)]
    for network in networks:
        statuses: list[int] = []
        for start in range(1, 101, 20):
            sent = [person.try_sign_in(WRONG, address=f"{network}.{number}") for number in range(start, start + 20)]
            statuses += [answer.status_code for answer in await asyncio.gather(*sent)]
        assert Counter(statuses) == {401: 10, 429: 90}
    assert (await person.try_sign_in(address=f"{networks[-1]}.200")).status_code == 429  # the same network
    assert (await person.try_sign_in(address="198.51.100.1")).status_code == 201
    assert (await person.try_sign_in(address="2001:db8:9::1")).status_code == 201
    colleague = await clinic.person()
    assert (await colleague.try_sign_in(address=f"{networks[-1]}.1")).status_code == 201
    factors = await stack.gateway.otp.factors_of(UserId(person.id))
    assert (factors.attempts_left, factors.is_budget_spent) == (5, False)
    stack.clock.advance(timedelta(seconds=30))
    at_last = await person.try_sign_in(address=f"{networks[-1]}.1")
    assert at_last.status_code == 201, "within 30 s even from there"
    assert (await person.prove(token=at_last.json()["token"])).json()["state"] == "active"


async def test_one_address_may_be_wrong_three_hundred_times(stack: Stack) -> None:
    async def guess(number: int) -> int:
        body = {"clinic": "harbour", "email": f"guess{number}@harbour.example", "password": WRONG}
        return (await stack.call("POST", "/v1/sessions", body, address="203.0.113.5")).status_code

    outcomes: list[int] = []
    # Counted by the process itself: Redis lets keys go by its own clock, which does not stand still like this test's.
    with patch.object(RedisRateLimiter, "take", side_effect=LimiterUnavailable("away")):
        for start in range(0, 310, 31):
            outcomes += await asyncio.gather(*(guess(number) for number in range(start, start + 31)))
    assert outcomes.count(401) == 300
    assert outcomes.count(429) == 10


async def test_right_passwords_leave_every_counter_where_it_was(stack: Stack, person: Person) -> None:
    for _ in range(8):
        assert (await person.try_sign_in(WRONG)).status_code == 401
    responses = await asyncio.gather(*(person.try_sign_in() for _ in range(40)))
    assert {response.status_code for response in responses} == {201}
    assert (await person.try_sign_in(WRONG)).status_code == 401
    assert (await person.try_sign_in(WRONG)).status_code == 401
    assert (await person.try_sign_in(WRONG)).status_code == 429


async def test_a11_without_the_limits_store_this_process_counts(stack: Stack, person: Person) -> None:
    with patch.object(RedisRateLimiter, "take", side_effect=LimiterUnavailable("away")):
        assert (await person.try_sign_in()).status_code == 201
        for _ in range(10):
            assert (await person.try_sign_in(WRONG)).status_code == 401
        assert (await person.try_sign_in(WRONG)).status_code == 429
    assert stack.redis.ping()


async def test_p12_no_address_or_account_stands_in_redis(stack: Stack, person: Person) -> None:
    await person.try_sign_in(WRONG)
    keys = b" ".join(stack.redis.keys("*"))
    assert b"rl:password-pair:" in keys
    for secret in (person.email, person.clinic.slug, "192.0.2"):
        assert secret.encode() not in keys


async def test_wrong_current_passwords_count_like_wrong_sign_ins(person: Person) -> None:
    await person.sign_in()
    body = {"current_password": WRONG, "new_password": "seven quiet lanterns drift"}
    for _ in range(10):
        assert (await person.call("PUT", "/v1/me/password", body)).status_code == 401
    assert (await person.call("PUT", "/v1/me/password", body)).status_code == 429
    assert (await person.try_sign_in()).status_code == 429
