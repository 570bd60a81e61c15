"""Lost replies (api.md): a request repeated under its key costs nobody a code, and gets nobody a second
session."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.identity.store.replies import ReplyStore
from services.identity.store.sessions import SessionStore
from services.otp import backup_codes
from tests.identity.people import Person, slug_of

SECOND_FACTOR = "/v1/session/second-factor"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


class Killed(Exception):
    """Stands for the end of the process: nothing that catches refusals catches it."""


def a_key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_urlsafe(24)}


async def send(person: Person, key: dict[str, str], token: str, body: Any = None, **more: Any) -> httpx.Response:
    body = body or {"method": "totp", "code": person.code()}
    return await person.stack.call("POST", more.pop("path", SECOND_FACTOR), body, token=token, **key)


async def alive(person: Person, token: str) -> bool:
    return (await person.stack.call("GET", "/v1/session", token=token)).status_code == 200


def cause_of(response: httpx.Response) -> str:
    assert response.status_code == 401, response.text
    return str(response.json().get("cause"))


async def confirming(person: Person) -> tuple[str, dict[str, str]]:
    """A set-up that waits for its code: where to send it, and the body."""
    started = await person.call("POST", "/v1/me/two-factor/totp")
    assert started.status_code == 201, started.text
    person.secret = started.json()["secret"]
    return f"/v1/me/two-factor/totp/{started.json()['enrolment_id']}/confirm", {"code": person.code()}


@pytest.fixture
async def waiting(person: Person) -> Person:
    """Signed in with the password; the code is still to be typed."""
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in()
    return person


@pytest.mark.parametrize("steps_up", [False, True])
async def test_a_lost_reply_is_given_again_under_a_fresh_token(waiting: Person, *, steps_up: bool) -> None:
    if steps_up:
        await waiting.sign_in_in_full()
    old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
    lost = (await send(waiting, key, old, body)).json()
    again = await send(waiting, key, old, body)
    assert again.status_code == 200, again.text
    differs = ("token", "idle_expires_at")
    assert {name: value for name, value in again.json().items() if name not in differs} == {
        name: value for name, value in lost.items() if name not in differs
    }
    assert not await alive(waiting, lost["token"])
    once_more = (await send(waiting, key, old, body)).json()
    assert cause_of(await waiting.stack.call("GET", "/v1/session", token=again.json()["token"])) == "replaced"
    assert await alive(waiting, once_more["token"])
    assert cause_of(await send(waiting, key, old, body)) == "replaced"  # the new token was used
    assert await alive(waiting, once_more["token"])
    told = waiting.stack.events(waiting.id)
    assert (told.count("session.retold"), told.count("session.opened")) == (2, 2 + steps_up)


async def test_after_a_minute_the_old_token_is_dead_like_any_other(waiting: Person) -> None:
    old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
    lost = (await send(waiting, key, old, body)).json()
    waiting.stack.clock.advance(timedelta(seconds=60))
    assert cause_of(await send(waiting, key, old, body)) == "replaced"
    assert await alive(waiting, lost["token"])


async def test_another_body_is_a_conflict_and_another_key_is_not_known(waiting: Person) -> None:
    old, key, code = waiting.token, a_key(), waiting.code()
    body = {"method": "totp", "code": code}
    lost = (await send(waiting, key, old, body)).json()
    for other in ({**body, "code": waiting.code(1)}, {**body, "remember_device": True}, {**body, "method": "sms"}):
        refused = await send(waiting, key, old, other)
        assert (refused.status_code, slug_of(refused)) == (409, "conflict")
    assert cause_of(await send(waiting, a_key(), old, body)) == "replaced"
    assert cause_of(await send(waiting, {}, old, body)) == "replaced"
    assert await alive(waiting, lost["token"])


async def test_a_session_that_has_ended_gives_no_reply_again(waiting: Person) -> None:
    old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
    await send(waiting, key, old, body)
    waiting.stack.sql("UPDATE session SET ended_at = now(), end_cause = 'ended' WHERE user_id = %s", [waiting.id])
    assert cause_of(await send(waiting, key, old, body)) == "ended"


async def test_a_key_means_nothing_in_another_session(waiting: Person) -> None:
    key, first = a_key(), waiting.token
    wrong = {"method": "totp", "code": waiting.wrong_code()}
    assert (await send(waiting, key, first, wrong)).json()["attempts_left"] == 4
    await waiting.sign_in()
    assert (await send(waiting, key, waiting.token, wrong)).json()["attempts_left"] == 3
    stranger = await waiting.clinic.person()
    await stranger.sign_in()
    await stranger.enrol_totp()
    await stranger.sign_in()
    assert (await send(stranger, key, stranger.token, {"method": "totp", "code": stranger.code()})).status_code == 200


async def test_a_wrong_code_repeated_under_its_key_counts_once(waiting: Person) -> None:
    key, body = a_key(), {"method": "totp", "code": waiting.wrong_code()}
    first = await send(waiting, key, waiting.token, body)
    for _ in range(3):
        again = await send(waiting, key, waiting.token, body)
        assert (again.status_code, slug_of(again)) == (422, "invalid-code")
        assert again.json()["attempts_left"] == first.json()["attempts_left"] == 4
    other = await send(waiting, key, waiting.token, {"method": "totp", "code": waiting.code()})
    assert (other.status_code, slug_of(other)) == (409, "conflict")
    assert (await send(waiting, {}, waiting.token, body)).json()["attempts_left"] == 3


@pytest.mark.parametrize("key", ["", "a" * 21, "a" * 65, "a" * 22 + "!", "ä" * 22])
async def test_a_key_that_is_none_is_refused(waiting: Person, key: str) -> None:
    sent: Any = {"Idempotency-Key": key.encode("latin-1")}
    path, body = SECOND_FACTOR, {"method": "totp", "code": waiting.code()}
    refused = await send(waiting, sent, waiting.token, body, path=path)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
    assert [error["field"] for error in refused.json()["errors"]] == ["Idempotency-Key"]
    assert await waiting.state() == "second_factor_required"


async def test_a73_killed_between_the_verdict_and_the_new_token_it_is_finished_by_a_repeat(
    waiting: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, body = a_key(), {"method": "totp", "code": waiting.code()}
    with monkeypatch.context() as patched:
        patched.setattr(SessionStore, "rotate", _dies)
        assert (await send(waiting, key, waiting.token, body)).status_code == 500
    done = await send(waiting, key, waiting.token, body)
    assert done.status_code == 200, done.text
    assert await alive(waiting, done.json()["token"])
    assert waiting.stack.events(waiting.id).count("session.proven") == 2  # by the set-up, and here


async def test_a73_killed_between_the_new_token_and_the_reply_it_is_told_again(
    waiting: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, body = a_key(), {"method": "totp", "code": waiting.code()}
    with monkeypatch.context() as patched:
        patched.setattr(SessionStore, "rotate", _dies_after(SessionStore.rotate))
        assert (await send(waiting, key, waiting.token, body)).status_code == 500
    done = await send(waiting, key, waiting.token, body)
    assert done.status_code == 200, done.text
    assert await alive(waiting, done.json()["token"])
    live = waiting.stack.sql("SELECT 1 FROM session WHERE user_id = %s AND verified_at IS NOT NULL", [waiting.id])
    assert len(live) == 2  # the one of the set-up, and this one


async def test_p14_parallel_requests_with_one_key_on_two_replicas_leave_one_living_token(waiting: Person) -> None:
    elsewhere = await waiting.stack.another_app()
    for _ in range(5):
        await waiting.sign_in()
        old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
        answers = await asyncio.gather(
            *(stack.call("POST", SECOND_FACTOR, body, token=old, **key) for stack in (waiting.stack, elsewhere) * 3)
        )
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} <= {"1"}
        answers.append(await send(waiting, key, old, body))
        assert answers[-1].status_code == 200, "whoever was told to ask again gets in"
        tokens = [answer.json()["token"] for answer in answers if answer.status_code == 200]
        living = [token for token in tokens if await alive(waiting, token)]
        assert living == tokens[-1:]
        waiting.stack.clock.advance(timedelta(seconds=30))


@pytest.mark.parametrize("steps_up", [False, True])
async def test_p14_a_repeat_while_the_first_is_at_it_is_asked_to_come_again_and_gets_in(
    waiting: Person, *, steps_up: bool
) -> None:
    """A client that stops waiting and sends the same again is not told that its sign-in is over."""
    if steps_up:
        await waiting.sign_in_in_full()
    old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
    first, repeat = await _overtaken(waiting, key, key, body)
    assert first.status_code == 200, first.text
    assert (repeat.status_code, slug_of(repeat), repeat.headers["retry-after"]) == (503, "unavailable", "1")
    again = await send(waiting, key, old, body)
    assert (again.status_code, again.json()["state"]) == (200, "active")
    assert not await alive(waiting, first.json()["token"])
    assert await alive(waiting, again.json()["token"])


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_p14_whoever_loses_with_another_key_or_none_holds_a_dead_token(
    waiting: Person, *, is_keyed: bool
) -> None:
    body = {"method": "totp", "code": waiting.code()}
    first, other = await _overtaken(waiting, a_key(), a_key() if is_keyed else {}, body)
    assert (first.status_code, cause_of(other)) == (200, "replaced")
    assert await alive(waiting, first.json()["token"])


async def test_p14_a_repeat_that_another_repeat_overtakes_is_asked_to_come_again(waiting: Person) -> None:
    old, key, body = waiting.token, a_key(), {"method": "totp", "code": waiting.code()}
    assert (await send(waiting, key, old, body)).status_code == 200
    first, repeat = await _overtaken(waiting, key, key, body, ReplyStore, "again")
    assert (first.status_code, repeat.status_code, repeat.headers["retry-after"]) == (200, 503, "1")
    again = await send(waiting, key, old, body)
    assert (again.status_code, await alive(waiting, again.json()["token"])) == (200, True)


async def test_the_remembering_of_a_browser_is_told_again_too(waiting: Person) -> None:
    await waiting.clinic.require_here(remember_device_days=30)
    await waiting.sign_in()
    old, key = waiting.token, a_key()
    body = {"method": "totp", "code": waiting.code(), "remember_device": True}
    lost = (await send(waiting, key, old, body)).json()
    again = (await send(waiting, key, old, body)).json()
    assert "remembered" not in (await waiting.sign_in(device_token=lost["device_token"]))
    assert (await waiting.sign_in(device_token=again["device_token"]))["remembered"]


async def _overtaken(
    person: Person,
    winner: dict[str, str],
    loser: dict[str, str],
    body: Any,
    store: type = SessionStore,
    at: str = "rotate",
) -> tuple[httpx.Response, httpx.Response]:
    """The answers to two requests with one token and these keys, of which one is about to make the new token when the
    other does."""
    really, token = getattr(store, at), person.token
    answers: list[httpx.Response] = []

    async def too_late(*given: Any, **more: Any) -> Any:
        patched.undo()
        answers.append(await send(person, winner, token, body))
        return await really(*given, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, at, too_late)
        lost = await send(person, loser, token, body)
    return answers[0], lost


async def _dies(*_: Any) -> None:
    raise Killed


def _dies_after(really: Any) -> Any:
    async def dying(*given: Any) -> None:
        await really(*given)
        raise Killed

    return dying
