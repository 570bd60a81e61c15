"""Lost replies to a confirmation: the factor is on by then, and its backup codes must reach whoever set it up, once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.common import postgres
from services.common.errors import unavailable
from services.identity.model import UserId
from services.identity.peers import notifier as notifier_peer
from services.identity.peers import otp as otp_peer
from services.identity.peers import outbox as outbox_peer
from services.identity.peers import policy as policy_peer
from services.identity.peers.otp import OtpPeer
from services.identity.store.replies import CONFIRMS_FOR, OTP_GOES_ON_FOR
from services.identity.store.sessions import SessionStore
from services.otp import backup_codes
from tests.identity.people import PHONE, Person, slug_of
from tests.identity.test_lost_replies import _dies, _dies_after, a_key, alive, cause_of, confirming, send

Start = Callable[[Person], Awaitable[tuple[str, dict[str, str]]]]


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def confirming_sms(person: Person) -> tuple[str, dict[str, str]]:
    started = await person.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})
    assert started.status_code == 202, started.text
    code = person.stack.notifier.code_to(PHONE)
    return f"/v1/me/two-factor/sms/{started.json()['enrolment_id']}/confirm", {"code": code}


async def works(person: Person, backup_code: str) -> bool:
    await person.sign_in()
    return (await person.prove(backup_code, "backup_code")).status_code == 200


@pytest.mark.parametrize("start", [confirming, confirming_sms])
async def test_a_lost_confirmation_comes_again_with_fresh_codes_for_the_unseen(person: Person, start: Start) -> None:
    await person.sign_in()
    path, body = await start(person)
    old, key = person.token, a_key()
    lost = (await send(person, key, old, body, path=path)).json()
    other = await send(person, key, old, {"code": "000000"}, path=path)
    assert (other.status_code, slug_of(other)) == (409, "conflict")
    again = await send(person, key, old, body, path=path)
    assert again.status_code == 200, again.text
    assert (len(lost["backup_codes"]), len(again.json()["backup_codes"])) == (10, 10)
    assert again.json()["session"]["state"] == "active"
    assert again.json()["two_factor"]["backup_codes"]["remaining"] == 10
    assert not await alive(person, lost["session"]["token"])
    assert await alive(person, again.json()["session"]["token"])
    assert cause_of(await send(person, key, old, body, path=path)) == "replaced"
    assert not await works(person, lost["backup_codes"][0])
    assert await works(person, again.json()["backup_codes"][0])


@pytest.mark.parametrize("dies", [_dies, _dies_after(SessionStore.rotate)], ids=["before", "after"])
@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a73_killed_on_either_side_of_the_new_token_the_codes_are_seen_in_the_end(
    person: Person, monkeypatch: pytest.MonkeyPatch, dies: Any, *, is_keyed: bool
) -> None:
    if dies is not _dies and not is_keyed:
        return  # without a key the old token is dead once the new one is there
    await person.sign_in()
    path, body = await confirming(person)
    key = a_key() if is_keyed else {}
    with monkeypatch.context() as patched:
        patched.setattr(SessionStore, "rotate", dies)
        assert (await send(person, key, person.token, body, path=path)).status_code == 500
    if dies is _dies:
        early = await send(person, key, person.token, body, path=path)
        assert (early.status_code, early.json()["retry_after"]) == (503, 20)  # the first may be at it still
        person.stack.clock.advance(CONFIRMS_FOR)
    done = await send(person, key, person.token, body, path=path)
    assert done.status_code == 200, done.text
    assert await alive(person, done.json()["session"]["token"])
    assert await works(person, done.json()["backup_codes"][0])


@pytest.mark.parametrize("is_required", [True, False])
async def test_a73_a_confirmation_that_otp_finished_after_the_deadline_can_be_heard(
    person: Person, monkeypatch: pytest.MonkeyPatch, *, is_required: bool
) -> None:
    await person.clinic.require_here(require_two_factor=is_required, phone_required=False)
    await person.sign_in()
    path, body = await confirming(person)
    really = OtpPeer.confirm

    async def too_late(*given: Any, **more: Any) -> None:
        await really(*given, **more)
        raise unavailable("otp")

    with monkeypatch.context() as patched:
        patched.setattr(OtpPeer, "confirm", too_late)
        assert (await send(person, {}, person.token, body, path=path)).status_code == 503
    person.stack.clock.advance(timedelta(seconds=5))
    assert await person.state() == "second_factor_required"
    done = await send(person, {}, person.token, body, path=path)
    assert (done.status_code, done.json()["session"]["state"]) == (200, "active")
    assert await works(person, done.json()["backup_codes"][0])


async def test_a31_with_a_password_alone_nothing_is_confirmed_beside_a_factor_nor_guessed_at(person: Person) -> None:
    await person.clinic.require_here(phone_required=False)
    thief = Person(person.clinic, person.id, person.email)
    await thief.sign_in()
    path, _ = await confirming(thief)
    await person.sign_in()
    own_path, own = await confirming(person)
    confirmed = await send(person, {}, person.token, own, path=own_path)
    assert confirmed.status_code == 200, confirmed.text
    assert await thief.state() == "second_factor_required"
    for key in ({}, a_key()):
        for where, code in (
            (path, thief.code()),
            (path, thief.wrong_code()),
            (path, "nonsense"),
            (own_path, own["code"]),
            ("/v1/me/two-factor/totp/enr_none/confirm", thief.code()),
            (path.replace("/totp/", "/sms/"), thief.code()),
        ):
            refused = await send(thief, key, thief.token, {"code": code}, path=where)
            assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required"), where
    refused = await thief.call("POST", path, {"codes": ["123456"]})
    assert (refused.status_code, slug_of(refused)) == (403, "second-factor-required")
    factors = await person.stack.gateway.otp.factors_of(UserId(person.id))
    assert (len(factors.factors), factors.attempts_left) == (1, 5)
    assert await alive(person, confirmed.json()["session"]["token"])


async def test_while_one_confirmation_under_a_key_is_under_way_no_other_makes_codes(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.sign_in()
    path, body = await confirming(person)
    key, really = a_key(), OtpPeer.confirm
    answers: list[httpx.Response] = []

    async def sent_twice(*given: Any, **more: Any) -> Any:
        patched.undo()
        answers.append(await send(person, key, person.token, body, path=path))
        return await really(*given, **more)

    patched = pytest.MonkeyPatch()
    patched.setattr(OtpPeer, "confirm", sent_twice)
    first = await send(person, key, person.token, body, path=path)
    assert [answer.status_code for answer in answers] == [503]
    assert first.status_code == 200, first.text
    assert await works(person, first.json()["backup_codes"][0])


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a_confirmation_that_takes_long_keeps_others_from_making_codes(
    person: Person, monkeypatch: pytest.MonkeyPatch, *, is_keyed: bool
) -> None:
    """As long as its deadlines allow: codes that a repeated request made meanwhile would kill those that it shows."""
    await person.sign_in()
    path, body = await confirming(person)
    key, really = a_key() if is_keyed else {}, SessionStore.rotate
    answers: list[httpx.Response] = []

    async def slow(*given: Any, **more: Any) -> Any:
        patched.undo()
        for _ in range(3):
            person.stack.clock.advance(timedelta(seconds=6))
            answers.append(await send(person, key, person.token, body, path=path))
        return await really(*given, **more)

    patched = pytest.MonkeyPatch()
    patched.setattr(SessionStore, "rotate", slow)
    first = await send(person, key, person.token, body, path=path)
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert first.status_code == 200, first.text
    assert await works(person, first.json()["backup_codes"][0])


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a_confirmation_that_another_has_overtaken_shows_no_codes(
    person: Person, monkeypatch: pytest.MonkeyPatch, *, is_keyed: bool
) -> None:
    """Whatever has kept it: of the two, the one whose codes live gets the token."""
    await person.sign_in()
    path, body = await confirming(person)
    key, really = a_key() if is_keyed else {}, SessionStore.rotate
    first_done = asyncio.Event()
    second: list[asyncio.Task[httpx.Response]] = []

    async def stuck(*given: Any, **more: Any) -> Any:
        patched.setattr(SessionStore, "rotate", late)
        person.stack.clock.advance(CONFIRMS_FOR)
        again = asyncio.create_task(send(person, key, person.token, body, path=path))
        second.append(again)
        await asyncio.wait_for(overtaken.wait(), 60)
        found = await really(*given, **more)  # before the second one's, and after its codes were made
        first_done.set()
        return found

    async def late(*given: Any, **more: Any) -> Any:
        overtaken.set()
        await asyncio.wait_for(first_done.wait(), 60)
        return await really(*given, **more)

    overtaken = asyncio.Event()
    patched = pytest.MonkeyPatch()
    patched.setattr(SessionStore, "rotate", stuck)
    try:
        first = await send(person, key, person.token, body, path=path)
        winner = await second[0]
    finally:
        patched.undo()
    assert cause_of(first) == "replaced"
    assert winner.status_code == 200, winner.text
    assert await works(person, winner.json()["backup_codes"][0])


def test_a_confirmation_is_kept_from_others_for_longer_than_its_deadlines_allow_it_to_take() -> None:
    """Factors and decision, the code, what follows of it (listed, done, settled), the factors again, the new token."""
    asked = [otp_peer._SECONDS, policy_peer._SECONDS, notifier_peer._SECONDS]
    confirmed = [otp_peer._CODES_SECONDS, outbox_peer._SECONDS, outbox_peer._SECONDS, otp_peer._SECONDS]
    kept = 2 * postgres._LONGEST_HOLD_SECONDS
    assert sum(asked) + sum(confirmed) + kept < CONFIRMS_FOR.total_seconds()
    assert otp_peer._CODES_SECONDS < OTP_GOES_ON_FOR.total_seconds() < CONFIRMS_FOR.total_seconds()


async def test_a_wrong_code_repeated_under_its_key_counts_once_and_the_next_may_follow_at_once(person: Person) -> None:
    await person.sign_in()
    path, body = await confirming(person)
    key, wrong = a_key(), {"code": person.wrong_code()}
    for _ in range(3):
        refused = await send(person, key, person.token, wrong, path=path)
        assert (slug_of(refused), refused.json()["attempts_left"]) == ("invalid-code", 4)
    assert (await send(person, a_key(), person.token, body, path=path)).status_code == 200
