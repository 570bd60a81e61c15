"""A phone whose clock is wrong, as its owner meets it: at sign-in, step-up and set-up, over HTTP (R9)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pyotp
import pytest

from tests.identity.people import Person, slug_of

Send = Callable[[str], Awaitable[httpx.Response]]

IPHONE = "Settings > General > Date & Time > Set Automatically"
ANDROID = "Settings > System > Date & time > Set automatically"


async def sign_in(person: Person) -> Send:
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    return person.prove


async def step_up(person: Person) -> Send:
    await person.sign_in()
    await person.enrol_totp()
    person.stack.clock.advance(timedelta(minutes=6))
    assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 401
    return person.prove


async def set_up(person: Person) -> Send:
    await person.sign_in()
    started = (await person.call("POST", "/v1/me/two-factor/totp")).json()
    person.secret = started["secret"]
    path = f"/v1/me/two-factor/totp/{started['enrolment_id']}/confirm"
    return lambda code: person.call("POST", path, {"code": code})


@pytest.mark.parametrize("begin", [sign_in, step_up, set_up])
@pytest.mark.parametrize(("skew", "words"), [(240, "4 minutes fast"), (-3600, "1 hour slow")])
async def test_r9_the_second_code_names_size_and_direction_and_how_to_set_the_clock(
    person: Person, begin: Callable[[Person], Awaitable[Send]], skew: int, words: str
) -> None:
    send = await begin(person)
    answers = []
    for _ in range(2):
        person.stack.clock.advance(timedelta(seconds=30))
        shown = pyotp.TOTP(person.secret).at(person.stack.clock.now() + timedelta(seconds=skew))
        answers.append(await send(shown))
    first, second = (answer.json() for answer in answers)
    assert [answer.status_code for answer in answers] == [422, 422]
    assert "clock_skew_seconds" not in first
    assert (slug_of(answers[1]), second["clock_skew_seconds"]) == ("invalid-code", skew)
    assert second["detail"] == f"The code is wrong: the clock of your phone is {words}."
    assert IPHONE in second["hint"]
    assert ANDROID in second["hint"]
    assert [first["attempts_left"], second["attempts_left"]] == [4, 3]
    person.stack.clock.advance(timedelta(seconds=30))
    assert (await send(person.code())).status_code == 200
