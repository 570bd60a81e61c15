"""What follows of what otp and policy have done does not hang on their reply: where it is lost, other sessions and
remembered browsers end, people are told and the trail is written all the same, once, by a retry or by the sweep."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import httpx
import pytest

from services.common.background import Background
from services.identity.aftermath import Aftermath
from services.identity.store.aftermath import AftermathStore
from services.otp import backup_codes
from tests.identity.people import PHONE, Person, SomeClinic, Stack, slug_of
from tests.identity.told import enrol_sms, kinds
from tests.identity.wire import losing_replies, lost

Sweep = Callable[[Stack], Awaitable[None]]
ANY_TOTP = "/v1/me/two-factor/totp"


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def by_the_sweep(stack: Stack) -> None:
    await stack.gateway.aftermath.sweep()


async def by_another_replica(stack: Stack) -> None:
    await (await stack.another_app()).gateway.aftermath.sweep()


async def by_two_at_once(stack: Stack) -> None:
    other = (await stack.another_app()).gateway.aftermath
    await asyncio.gather(stack.gateway.aftermath.sweep(), other.sweep(), stack.gateway.aftermath.sweep())


SWEEPS = pytest.mark.parametrize("sweep", [by_the_sweep, by_another_replica, by_two_at_once])


async def two_sessions(person: Person) -> str:
    """In full, and another one besides, whose token is answered. The newest proof is fresh."""
    await person.sign_in()
    await person.enrol_totp()
    await person.sign_in_in_full()
    other = person.token
    await person.sign_in_in_full()
    return other


async def is_alive(person: Person, token: str) -> bool:
    return (await person.stack.call("GET", "/v1/session", token=token)).status_code == 200


async def test_a_removal_whose_reply_is_lost_is_done_in_full_when_it_is_asked_for_again(person: Person) -> None:
    other = await two_sessions(person)
    with losing_replies(person.stack.gateway.otp._peer, "RemoveFactor"):
        assert (await person.call("DELETE", ANY_TOTP)).status_code == 503
    assert await is_alive(person, other)
    again = await person.call("DELETE", ANY_TOTP)
    assert again.status_code == 204, again.text
    assert not await is_alive(person, other)
    assert (await kinds(person))[-1] == "factor_removed"
    assert (await person.call("DELETE", ANY_TOTP)).status_code == 204  # heard by nobody again: the same
    assert (await kinds(person)).count("factor_removed") == 1
    assert person.stack.events(person.id).count("factor.removed") == 1
    shown = (await person.call("GET", "/v1/session")).json()
    assert (shown["state"], shown["verified_at"], shown["amr"]) == ("active", None, ["pwd"])


@SWEEPS
async def test_a_removal_whose_reply_is_lost_is_done_in_full_though_nobody_asks_again(
    stack: Stack, person: Person, sweep: Sweep
) -> None:
    other = await two_sessions(person)
    with losing_replies(stack.gateway.otp._peer, "RemoveFactor"):
        assert (await person.call("DELETE", ANY_TOTP)).status_code == 503
    await sweep(stack)
    await sweep(stack)
    stack.clock.advance(timedelta(seconds=2))  # by then every replica knows
    assert not await is_alive(person, other)
    assert (await kinds(person)).count("factor_removed") == 1
    assert person.stack.events(person.id).count("factor.removed") == 1


async def test_another_session_or_ten_minutes_later_is_told_that_there_is_no_such_factor(
    stack: Stack, person: Person
) -> None:
    await two_sessions(person)
    assert (await person.call("DELETE", ANY_TOTP)).status_code == 204
    assert (await person.call("DELETE", "/v1/me/two-factor/sms")).status_code == 404
    first = person.token
    await person.sign_in()
    assert slug_of(await person.call("DELETE", ANY_TOTP)) == "not-found"
    stack.clock.advance(timedelta(minutes=10))
    assert slug_of(await stack.call("DELETE", ANY_TOTP, token=first)) == "not-found"


@SWEEPS
async def test_codes_made_anew_are_told_of_though_their_reply_is_lost(
    stack: Stack, person: Person, sweep: Sweep
) -> None:
    await two_sessions(person)
    with losing_replies(stack.gateway.otp._peer, "RegenerateBackupCodes"):
        assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 503
    await sweep(stack)
    assert (await kinds(person)).count("backup_codes_made") == 1
    assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 201
    assert (await kinds(person)).count("backup_codes_made") == 2


@SWEEPS
async def test_a_spent_budget_is_told_of_though_the_verdict_is_lost(stack: Stack, person: Person, sweep: Sweep) -> None:
    await two_sessions(person)
    for _ in range(4):
        assert (await person.prove(person.wrong_code())).status_code == 422
    with losing_replies(stack.gateway.otp._peer, "Verify"):
        assert (await person.prove(person.wrong_code())).status_code == 503
    assert (await kinds(person)).count("guesses_spent") == 0
    await sweep(stack)
    assert (await kinds(person)).count("guesses_spent") == 1
    assert (await person.prove()).status_code == 429


async def test_a_budget_spent_on_a_set_up_is_told_of_though_the_verdict_is_lost(stack: Stack, person: Person) -> None:
    await two_sessions(person)
    started = (await person.call("POST", "/v1/me/two-factor/sms", {"phone": PHONE})).json()
    path = f"/v1/me/two-factor/sms/{started['enrolment_id']}/confirm"
    wrong = {"code": f"{(int(stack.notifier.code_to(PHONE)) + 1) % 1_000_000:06d}"}
    for _ in range(4):
        assert (await person.call("POST", path, wrong)).status_code == 422
    with losing_replies(stack.gateway.otp._peer, "ConfirmEnrolment"):
        assert (await person.call("POST", path, wrong)).status_code == 503
    await by_the_sweep(stack)
    assert (await kinds(person)).count("guesses_spent") == 1


async def test_the_last_backup_codes_are_told_of_though_the_verdict_is_lost(stack: Stack, person: Person) -> None:
    await two_sessions(person)
    for code in person.backup_codes[:7]:
        assert (await person.prove(code, "backup_code")).status_code in (200, 503)
        await person.sign_in()
    assert (await kinds_in_full(person)).count("backup_codes_low") == 1
    await person.sign_in()
    with losing_replies(stack.gateway.otp._peer, "Verify"):
        assert (await person.prove(person.backup_codes[7], "backup_code")).status_code == 503
    await by_the_sweep(stack)
    assert (await kinds_in_full(person)).count("backup_codes_low") == 2


async def kinds_in_full(person: Person) -> list[str]:
    await person.sign_in_in_full()
    return await kinds(person)


@SWEEPS
async def test_a_new_phone_ends_other_sessions_and_is_told_of_though_its_confirmation_is_lost(
    stack: Stack, person: Person, sweep: Sweep
) -> None:
    other = await two_sessions(person)
    started = await person.call("POST", ANY_TOTP)
    person.secret = started.json()["secret"]
    path = f"{ANY_TOTP}/{started.json()['enrolment_id']}/confirm"
    body = {"code": person.code()}
    with losing_replies(stack.gateway.otp._peer, "ConfirmEnrolment"):
        assert (await person.call("POST", path, body)).status_code == 503
    assert await is_alive(person, other)
    await sweep(stack)
    assert not await is_alive(person, other)
    stack.clock.advance(timedelta(minutes=1))
    done = await person.call("POST", path, body)
    assert done.status_code == 200, done.text
    person.token = done.json()["session"]["token"]
    assert (await kinds(person)).count("factor_changed") == 1
    assert stack.events(person.id).count("factor.enrolled") == 2  # the first one, and this
    assert len(done.json()["backup_codes"]) == 10


async def test_what_a_bypass_set_up_is_told_of_and_can_be_undone_though_its_confirmation_is_lost(
    stack: Stack, clinic: SomeClinic, admin: Person
) -> None:
    person = await clinic.person(phone=PHONE)
    await person.sign_in()
    await person.enrol_totp()
    granted = await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", {"reason": "Lost it."})
    assert granted.status_code == 201, granted.text
    await person.sign_in()
    started = await person.call("POST", ANY_TOTP)
    person.secret = started.json()["secret"]
    path = f"{ANY_TOTP}/{started.json()['enrolment_id']}/confirm"
    with losing_replies(stack.gateway.otp._peer, "ConfirmEnrolment"):
        assert (await person.call("POST", path, {"code": person.code()})).status_code == 503
    await by_the_sweep(stack)
    noted = stack.sql("SELECT enrolled_at FROM bypass_use WHERE user_id = %s", [person.id])
    assert noted[0]["enrolled_at"] is not None
    told = stack.sql("SELECT kind FROM notice WHERE user_id = %s ORDER BY seq", [person.id])
    assert [row["kind"] for row in told] == ["factor_added", "bypass_granted", "bypass_used", "bypass_enrolled"]
    assert (await kinds(admin))[-1] == "granted_bypass_enrolled"


@SWEEPS
async def test_a_bypass_is_told_of_and_ended_by_a_proof_though_the_reply_to_its_grant_is_lost(
    stack: Stack, clinic: SomeClinic, admin: Person, sweep: Sweep
) -> None:
    person = await clinic.person()
    await two_sessions(person)
    body = {"reason": "Lost the phone on the train."}
    await admin.sign_in_in_full()
    with losing_replies(stack.gateway.policy.connection, "GrantBypass"):
        refused = await admin.call("POST", f"/v1/users/{person.id}/two-factor/bypass", body)
        assert refused.status_code == 503
    assert (await kinds(person)).count("bypass_granted") == 0
    await sweep(stack)
    assert (await kinds(person)).count("bypass_granted") == 1
    marked = stack.sql("SELECT id FROM session WHERE user_id = %s AND ends_bypass", [person.id])
    assert len(marked) == 3


async def test_what_cannot_be_followed_up_stays_and_keeps_nobody_elses_from_it(
    stack: Stack, clinic: SomeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await clinic.person() for _ in range(3)]
    for person in people:
        await two_sessions(person)
    really = AftermathStore.follow

    async def follow(self: AftermathStore, event: object, then: object) -> bool:
        if event.user_id == people[1].id:  # type: ignore[attr-defined]
            raise RuntimeError("a flaw of ours")
        return await really(self, event, then)  # type: ignore[arg-type]

    for person in people:
        with losing_replies(stack.gateway.otp._peer, "RegenerateBackupCodes"):
            assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 503
    with monkeypatch.context() as patched:
        patched.setattr(AftermathStore, "follow", follow)
        await by_the_sweep(stack)
    assert [(await kinds(person)).count("backup_codes_made") for person in people] == [1, 0, 1]
    await by_the_sweep(stack)
    assert [(await kinds(person)).count("backup_codes_made") for person in people] == [1, 1, 1]


async def test_a_sweep_that_cannot_settle_finds_it_done_the_next_time(stack: Stack, person: Person) -> None:
    await two_sessions(person)
    outbox = stack.gateway.aftermath._outboxes["otp"]
    with losing_replies(stack.gateway.otp._peer, "RegenerateBackupCodes"):
        assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 503
    really = outbox._peer.stub.Settle

    async def unheard(*_: object, **__: object) -> None:
        raise lost()

    outbox._peer.stub.Settle = unheard
    await by_the_sweep(stack)
    outbox._peer.stub.Settle = really
    assert await stack.gateway.aftermath.sweep() >= 1
    assert (await kinds(person)).count("backup_codes_made") == 1
    assert await stack.gateway.aftermath.sweep() == 0


async def test_the_sweep_runs_by_itself_and_outlives_a_service_that_is_away(stack: Stack, person: Person) -> None:
    await two_sessions(person)
    with losing_replies(stack.gateway.otp._peer, "RegenerateBackupCodes"):
        assert (await person.call("POST", "/v1/me/two-factor/backup-codes")).status_code == 503
    await stack.stop_policy()
    aftermath: Aftermath = stack.gateway.aftermath
    sweeping = Background(partial(aftermath.keep_sweeping, every_seconds=0.05))
    sweeping.start()
    async with asyncio.timeout(60):
        while not stack.sql("SELECT id FROM notice WHERE user_id = %s AND kind = 'backup_codes_made'", [person.id]):
            await asyncio.sleep(0.05)
    await sweeping.close()


async def test_what_no_reply_was_lost_of_is_done_before_the_answer(stack: Stack, person: Person) -> None:
    await stack.gateway.aftermath.sweep()  # what other tests have left in these databases
    other = await two_sessions(person)
    await enrol_sms(person, PHONE)
    assert await is_alive(person, other)  # one more factor ends nothing
    removed: httpx.Response = await person.call("DELETE", ANY_TOTP)
    assert removed.status_code == 204
    assert not await is_alive(person, other)
    assert await stack.gateway.aftermath.sweep() == 0
