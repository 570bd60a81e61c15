"""Notices stand behind codes, and few of them are on their way at a time: with the time held still."""

import asyncio
from datetime import timedelta

from services.notifier.model import State
from tests.notifier.conftest import Standin
from tests.notifier.house import House

AT_ONCE = 3


async def test_codes_are_published_before_notices_that_were_there_first(house: House, number: str) -> None:
    for _ in range(2):
        await house.notify(number)
    house.clock.advance(timedelta(seconds=1))
    codes = [(await house.submit(number)).id for _ in range(4)]
    assert await house.relay().publish_due() == 6
    assert set(house.published[:4]) == set(codes)


async def test_while_more_codes_are_due_than_one_batch_no_notice_goes(house: House, number: str) -> None:
    [notice] = await house.notify(number)
    codes = [(await house.submit(number)).id for _ in range(101)]
    assert await house.relay().publish_due() == 100
    assert notice.id not in house.published
    assert await house.relay().publish_due() == 2
    assert set(house.published) == {*codes, notice.id}


async def test_no_more_than_three_notices_are_on_their_way_however_many_relays(house: House, number: str) -> None:
    notices = {(await house.notify(number))[0].id for _ in range(10)}
    for _ in range(3):
        await asyncio.gather(*(house.relay().publish_due() for _ in range(5)))
    assert len(house.published) == AT_ONCE
    for number_of_sent in range(1, 8):
        await house.dispatch().send(house.published[number_of_sent - 1])
        await asyncio.gather(*(house.relay().publish_due() for _ in range(2)))
        await house.relay().publish_due()
        assert len(house.published) == AT_ONCE + number_of_sent
    for delivery_id in house.published[7:]:
        await house.dispatch().send(delivery_id)
    assert set(house.published) == notices
    assert len(house.published) == 10


async def test_a_notice_under_a_worker_holds_its_place_until_it_counts_as_lost(house: House, number: str) -> None:
    for _ in range(5):
        await house.notify(number)
    await house.relay().publish_due()
    for delivery_id in list(house.published):
        assert await house.store.claim(delivery_id, house.clock.now(), house.clock.now())
    house.clock.advance(timedelta(seconds=30))
    assert await house.relay().publish_due(stale_too=True) == 0
    house.clock.advance(timedelta(seconds=30))
    await house.relay().sweep()
    assert await house.relay().publish_due() == 2


async def test_notices_that_the_broker_lost_are_published_again_and_hold_nothing_up(house: House, number: str) -> None:
    for _ in range(5):
        await house.notify(number)
    await house.relay().publish_due()
    lost = list(house.published)
    house.clock.advance(timedelta(seconds=11))
    assert await house.relay().publish_due() == 0
    assert await house.relay().publish_due(stale_too=True) == AT_ONCE
    assert sorted(house.published[AT_ONCE:]) == sorted(lost)  # the same, so that a worker that was away finds no more
    for delivery_id in lost:
        await house.dispatch().send(delivery_id)
    assert await house.relay().publish_due() == 2


async def test_a_notice_that_was_not_sent_waits_longer_than_a_code_and_makes_room(
    house: House, standin: Standin, number: str
) -> None:
    """A channel may be away for hours, and each attempt is on record: at most four an hour, after the first quarter."""
    [first] = await house.notify(number, seconds=80_000)
    standin.fail("429", number, count=14, retry_after=0)
    waits = []
    for _ in range(14):
        await house.dispatch().send(first.id)
        async with house.store._database.connection() as connection:
            cursor = await connection.execute("SELECT next_at FROM delivery WHERE id = %s", [first.id])
            row = await cursor.fetchone()
        assert row
        waits.append((row["next_at"] - house.clock.now()).total_seconds())
        house.clock.set(row["next_at"])
    for wait, least in zip(waits, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900), strict=True):
        assert least <= wait <= least * 1.25
    await house.dispatch().send(first.id)
    assert await house.state(first) is State.SENT


async def test_what_a_repeat_names_anew_changes_nothing(house: House, standin: Standin, number: str) -> None:
    [taken] = await house.notify(number, request_key="ntc_again")
    [again] = await house.notify("+447700900999", request_key="ntc_again")
    assert again.id == taken.id
    provider, house.provider = house.provider, None
    assert [each.id for each in await house.notify(number, request_key="ntc_again")] == [taken.id]
    assert await house.notify(number, request_key="ntc_other") == []
    house.provider = provider
    await house.dispatch().send(taken.id)
    assert len(standin.inbox(number)) == 1
