"""Work beside the serving: begun, ended, and over when its end was waited for."""

import asyncio

from services.common.background import Background


async def test_work_goes_on_until_it_is_closed_and_then_no_more() -> None:
    steps: list[int] = []

    async def work() -> None:
        while True:
            steps.append(len(steps))
            await asyncio.sleep(0)

    background = Background(work)
    background.start()
    while len(steps) < 3:
        await asyncio.sleep(0)
    await background.close()
    done = len(steps)
    await asyncio.sleep(0.01)
    assert len(steps) == done


async def test_work_whose_driver_swallows_a_cancellation_is_over_all_the_same() -> None:
    swallowed = asyncio.Event()

    async def work() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if swallowed.is_set():
                    raise
                swallowed.set()

    background = Background(work)
    background.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await background.close()
    assert swallowed.is_set()


async def test_work_that_was_never_begun_is_closed_at_once() -> None:
    async def work() -> None:
        raise AssertionError("nobody has begun it")

    await Background(work).close()
