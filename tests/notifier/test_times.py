"""What depends on time, with the time held still: real rows, a real provider, no waiting."""

import asyncio
import base64
import json
import secrets
from datetime import timedelta
from pathlib import Path

import pytest

from services.common.sealing import Keyring
from services.notifier.model import Outcome, Provider, State, Verdict
from tests.notifier.conftest import Standin
from tests.notifier.house import House


async def test_r21_nothing_is_begun_with_less_than_ten_seconds_left(
    house: House, standin: Standin, number: str
) -> None:
    in_time, late = await house.submit(number), await house.submit(number)
    house.clock.advance(timedelta(seconds=289))
    await house.dispatch().send(in_time.id)
    assert await house.state(in_time) is State.SENT
    # Less what may pass until it leaves: the provider drops it by its end, not seconds after.
    assert [call["form"]["ValidityPeriod"] for call in standin.calls(number)] == ["7"]
    house.clock.advance(timedelta(seconds=1))
    await house.dispatch().send(late.id)
    assert await house.state(late) is State.QUEUED
    await house.relay().sweep()
    assert await house.state(late) is State.EXPIRED
    await house.dispatch().send(late.id)
    assert len(standin.calls(number)) == 1


async def test_r21_a_worker_that_stood_still_after_its_claim_sends_nothing_late(
    house: House, standin: Standin, number: str
) -> None:
    delivery = await house.submit(number)
    claimed = asyncio.Event()
    dispatch = house.dispatch()

    async def frozen_meanwhile() -> Provider | None:
        house.clock.advance(timedelta(seconds=295))
        claimed.set()
        return house.provider

    dispatch._find_provider = frozen_meanwhile
    await dispatch.send(delivery.id)
    assert claimed.is_set()
    assert standin.calls(number) == []
    await house.relay().sweep()
    assert await house.state(delivery) is State.EXPIRED


async def test_sending_for_sixty_seconds_is_lost_and_an_answer_after_all_still_counts(
    house: House, standin: Standin, number: str
) -> None:
    delivery = await house.submit(number)
    now = house.clock.now()
    claim = await house.store.claim(delivery.id, now, now)
    assert claim
    assert await house.store.claim(delivery.id, now, now) is None
    house.clock.advance(timedelta(seconds=59.9))
    await house.relay().sweep()
    assert await house.state(delivery) is State.SENDING
    house.clock.advance(timedelta(seconds=0.1))
    await house.relay().sweep()
    assert await house.state(delivery) is State.UNKNOWN
    # Not sent for certain: too late to send it now, since it has been told as unknown and its code is gone.
    assert not await house.store.put_back(claim.delivery, "not_reached", house.clock.now(), house.clock.now())
    accepted = Outcome(Verdict.ACCEPTED, sid="SM1")
    now = house.clock.now()
    assert await house.store.end_attempt(claim.delivery, State.SENT, accepted, "standin", None, now)
    assert not await house.store.end_attempt(claim.delivery, State.SENT, accepted, "standin", None, now)
    assert await house.state(delivery) is State.SENT


async def test_an_earlier_attempts_answer_says_nothing_of_a_later_attempt(house: House, number: str) -> None:
    delivery = await house.submit(number)
    now = house.clock.now()
    first = await house.store.claim(delivery.id, now, now)
    assert first
    assert await house.store.put_back(first.delivery, "not_reached", now, now)
    second = await house.store.claim(delivery.id, now, now)
    assert second
    assert second.delivery.attempt == 2
    refused = Outcome(Verdict.REFUSED, code=21610)
    assert not await house.store.end_attempt(first.delivery, State.FAILED, refused, "standin", "opted_out", now)
    assert not await house.store.put_back(first.delivery, "not_reached", now, now)
    assert await house.state(delivery) is State.SENDING


async def test_of_fifty_claims_at_once_one_succeeds(house: House, standin: Standin, number: str) -> None:
    delivery = await house.submit(number)
    # Some may not get a connection to the database in time.
    await asyncio.gather(*(house.dispatch().send(delivery.id) for _ in range(50)), return_exceptions=True)
    assert len(standin.calls(number)) == 1


async def test_f16_what_does_not_open_is_not_sent(house: House, standin: Standin, number: str, tmp_path: Path) -> None:
    """A71: another keyring, and another delivery's ciphertext."""
    delivery, other = await house.submit(number), await house.submit(number)
    foreign = tmp_path / "keyring.json"
    foreign.write_text(json.dumps({"active": 1, "keys": {"1": base64.b64encode(secrets.token_bytes(32)).decode()}}))
    await house.dispatch(Keyring.load(foreign)).send(delivery.id)
    assert await house.state(delivery) is State.QUEUED
    async with house.store._database.connection() as connection:
        await connection.execute(
            "UPDATE delivery SET sealed = (SELECT sealed FROM delivery WHERE id = %s) WHERE id = %s",
            [delivery.id, other.id],
        )
    await house.dispatch().send(other.id)
    assert await house.state(other) is State.QUEUED
    assert standin.calls(number) == []
    house.clock.advance(timedelta(seconds=2))
    await house.dispatch().send(delivery.id)
    assert await house.state(delivery) is State.SENT


async def test_waits_grow_but_never_beyond_half_a_minute_or_below_what_was_asked(
    house: House, standin: Standin, number: str
) -> None:
    delivery = await house.submit(number, seconds=3000)
    standin.fail("429", number, count=8, retry_after=0)
    waits = []
    for _ in range(8):
        await house.dispatch().send(delivery.id)
        async with house.store._database.connection() as connection:
            cursor = await connection.execute("SELECT next_at FROM delivery WHERE id = %s", [delivery.id])
            row = await cursor.fetchone()
        assert row
        waits.append((row["next_at"] - house.clock.now()).total_seconds())
        house.clock.set(row["next_at"] - timedelta(milliseconds=1))
        await house.dispatch().send(delivery.id)  # not yet due: nothing happens
        house.clock.set(row["next_at"])
    assert len(standin.calls(number)) == 8
    for wait, least in zip(waits, (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert least <= wait <= least * 1.25


async def test_the_relay_publishes_once_and_again_only_what_was_lost(house: House, number: str) -> None:
    deliveries = {(await house.submit(number)).id for _ in range(5)}
    relays = [house.relay() for _ in range(3)]
    await asyncio.gather(*(relay.publish_due() for relay in relays))
    assert sorted(house.published) == sorted(deliveries)
    house.clock.advance(timedelta(seconds=9))
    assert await relays[0].publish_due(stale_too=True) == 0
    house.clock.advance(timedelta(seconds=2))
    assert await relays[0].publish_due() == 0
    assert await relays[0].publish_due(stale_too=True) == 5
    # What is on its way or has ended is not published again.
    await house.dispatch().send(house.published[0])
    house.clock.advance(timedelta(seconds=11))
    assert await relays[0].publish_due(stale_too=True) == 4


async def test_workers_that_are_behind_are_not_given_the_same_ids_again(house: House, number: str) -> None:
    await house.submit(number)
    relay = house.relay()
    assert await relay.publish_due() == 1
    house.clock.advance(timedelta(seconds=11))
    for backlog, published in ((51, 1), (None, 1), (50, 2)):
        house.backlog = backlog
        relay._looked_for_stale_at = 0
        await relay._publish_while_due()
        assert len(house.published) == published


async def test_what_the_broker_did_not_take_is_due_again_at_once(house: House, number: str) -> None:
    await house.submit(number)
    relay = house.relay()

    def broken(_: object) -> None:
        raise ConnectionError

    relay._publish = broken
    with pytest.raises(ConnectionError):
        await relay.publish_due()
    assert await house.relay().publish_due() == 1


async def test_every_change_has_its_audit_event_and_no_other(house: House, standin: Standin, number: str) -> None:
    """P18, and P22: the service's role can neither change nor remove what is on record."""
    standin.fail("500", number)
    unknown, expired = await house.submit(number), await house.submit(number, seconds=200)
    await house.dispatch().send(unknown.id)
    house.clock.advance(timedelta(seconds=200))
    await house.relay().sweep()
    async with house.store._database.connection() as connection:
        cursor = await connection.execute(
            "SELECT kind, clinic_id, subject_id, actor_kind, at, detail FROM audit_event ORDER BY seq"
        )
        events = await cursor.fetchall()
    told = [(event["detail"]["delivery_id"], event["kind"]) for event in events]
    assert told == [
        (unknown.id, "delivery.queued"),
        (expired.id, "delivery.queued"),
        (unknown.id, "delivery.sending"),
        (unknown.id, "delivery.unknown"),
        (expired.id, "delivery.expired"),
    ]
    assert {(event["clinic_id"], event["subject_id"], event["actor_kind"]) for event in events} == {
        ("cli_harbour", "usr_nurse", "system")
    }
    for statement in ("UPDATE audit_event SET kind = 'x'", "DELETE FROM audit_event", "DELETE FROM delivery"):
        async with house.store._database.connection() as connection:
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)  # type: ignore[call-overload]
