"""Whether text messages are said to be degraded, told from how they fared of late."""

from datetime import timedelta

import pytest

from services.notifier.model import State
from services.notifier.provider_health import LEAST_BAD, OF_LATE, ProviderHealth
from tests.notifier.conftest import Standin
from tests.notifier.house import House


async def send(house: House, number: str) -> State:
    taken = await house.submit(number)
    await house.dispatch().send(taken.id)
    return await house.state(taken)


async def test_text_messages_are_degraded_while_most_do_not_go_out_and_mend_by_themselves(
    house: House, standin: Standin, number: str
) -> None:
    standin.fail("500", number, count=LEAST_BAD)
    for _ in range(LEAST_BAD):
        assert not await house.health().is_degraded()
        assert await send(house, number) is State.UNKNOWN
    assert await house.health().is_degraded()
    for _ in range(LEAST_BAD):
        assert await house.health().is_degraded()
        assert await send(house, number) is State.SENT
    assert not await house.health().is_degraded()


async def test_they_mend_also_where_nothing_more_is_tried(house: House, standin: Standin, number: str) -> None:
    standin.fail("500", number, count=LEAST_BAD)
    for _ in range(LEAST_BAD):
        await send(house, number)
    house.clock.advance(OF_LATE - timedelta(seconds=1))
    assert await house.health().is_degraded()
    house.clock.advance(timedelta(seconds=1))
    assert not await house.health().is_degraded()


async def test_what_waits_for_another_try_counts_until_it_has_gone_out(
    house: House, standin: Standin, number: str
) -> None:
    standin.fail("401", number, count=LEAST_BAD)
    waiting = [await house.submit(number) for _ in range(LEAST_BAD)]
    for each in waiting:
        await house.dispatch().send(each.id)
    assert await house.health().is_degraded()
    house.clock.advance(timedelta(minutes=1))
    for each in waiting:
        await house.dispatch().send(each.id)
        assert await house.state(each) is State.SENT
    assert not await house.health().is_degraded()


@pytest.mark.parametrize(
    ("state", "reason", "counts"),
    [("failed", "provider", True), ("failed", "opted_out", False), ("failed", "not_mobile", False)],
)
async def test_a_number_that_cannot_be_reached_tells_nothing_of_the_provider(
    house: House, number: str, state: str, reason: str, counts: bool
) -> None:
    for _ in range(LEAST_BAD):
        taken = await house.submit(number)
        async with house.store._database.connection() as connection:
            await connection.execute(
                "UPDATE delivery SET state = %s, reason = %s, sealed = NULL WHERE id = %s", [state, reason, taken.id]
            )
    assert await house.health().is_degraded() == counts


async def test_codes_that_nobody_took_off_the_queue_in_time_count_too(house: House, number: str) -> None:
    for _ in range(LEAST_BAD):
        await house.submit(number, seconds=30)
    house.clock.advance(timedelta(seconds=30))
    await house.relay().sweep()
    assert await house.health().is_degraded()


async def test_it_is_asked_of_the_database_every_few_seconds_at_most(house: House, number: str) -> None:
    seconds = [0.0]
    health = ProviderHealth(house.store.texts_since, house.clock, lambda: seconds[0])
    assert not await health.is_degraded()
    for _ in range(LEAST_BAD):
        await house.submit(number, seconds=30)
    house.clock.advance(timedelta(seconds=30))
    await house.relay().sweep()
    assert not await health.is_degraded()
    seconds[0] = 5.0
    assert await health.is_degraded()
