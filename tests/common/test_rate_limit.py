"""Limits: the shared limiter and the one in this process give the same answers, case by case."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.embedded import EmbeddedRedis, free_port
from services.common import rate_limit
from services.common.rate_limit import (
    InProcessRateLimiter,
    Limit,
    LimiterUnavailable,
    RateLimiter,
    RedisRateLimiter,
    Refusal,
    Spend,
    connect,
)

FIVE = Limit("five", 5, 60)
TWO = Limit("two", 2, 10)
MANY = Limit("many", 100, 3600)


class Time:
    """Milliseconds that a test moves; begins at a moment no Redis clock is near."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def pass_seconds(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def redis_client(redis_url: str, redis_password: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(rate_limit, "_WAIT_SECONDS", 5.0)  # these tests are of counting, not of giving up
    client = connect(redis_url, redis_password)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(params=["redis", "in_process"])
async def limiter(request: pytest.FixtureRequest, redis_client: Any, time: Time) -> RateLimiter:
    if request.param == "redis":
        return RedisRateLimiter(redis_client, b"pepper", time)
    return InProcessRateLimiter(time)


async def test_a_full_burst_passes_at_once_then_one_each_interval(limiter: RateLimiter, time: Time) -> None:
    assert [await limiter.take([(FIVE, "a")]) for _ in range(5)] == [None] * 5
    assert await limiter.take([(FIVE, "a")]) == Refusal(FIVE, 12)
    time.pass_seconds(11)
    assert await limiter.take([(FIVE, "a")]) == Refusal(FIVE, 1)
    time.pass_seconds(1)
    assert await limiter.take([(FIVE, "a")]) is None
    assert await limiter.take([(FIVE, "a")]) == Refusal(FIVE, 12)
    assert await limiter.take([(FIVE, "b")]) is None, "another's is untouched"
    time.pass_seconds(60)
    assert [await limiter.take([(FIVE, "a")]) for _ in range(5)] == [None] * 5


async def test_nothing_is_spent_on_a_refusal(limiter: RateLimiter, time: Time) -> None:
    for _ in range(2):
        assert await limiter.take([(TWO, "a")]) is None
    for _ in range(50):
        assert await limiter.take([(FIVE, "x"), (TWO, "a"), (MANY, "y")]) == Refusal(TWO, 5)
    assert [await limiter.take([(FIVE, "x")]) for _ in range(6)] == [None] * 5 + [Refusal(FIVE, 12)]
    assert [await limiter.take([(MANY, "y")]) for _ in range(100)] == [None] * 100
    time.pass_seconds(5)
    assert await limiter.take([(TWO, "a")]) is None, "the refusals did not push it back"


async def test_of_several_limits_the_longest_wait_is_told(limiter: RateLimiter) -> None:
    slow, slower = Limit("slow", 1, 1.2), Limit("slower", 1, 1.5)
    assert await limiter.take([(slow, "a"), (slower, "a")]) is None
    assert await limiter.take([(slow, "a"), (slower, "a")]) == Refusal(slower, 2)
    assert await limiter.take([(slower, "a"), (slow, "a")]) == Refusal(slower, 2)


async def test_what_is_given_back_can_be_spent_again(limiter: RateLimiter, time: Time) -> None:
    for _ in range(200):
        assert await limiter.take([(FIVE, "a"), (TWO, "a")]) is None
        await limiter.give_back([(FIVE, "a"), (TWO, "a")])
    assert [await limiter.take([(TWO, "a")]) for _ in range(3)] == [None, None, Refusal(TWO, 5)]
    time.pass_seconds(60)
    await limiter.give_back([(TWO, "a"), (TWO, "never taken")])
    assert [await limiter.take([(TWO, "a")]) for _ in range(3)] == [None, None, Refusal(TWO, 5)]


async def test_a02_of_a_thousand_at_once_exactly_the_count_pass(limiter: RateLimiter) -> None:
    limit = Limit("thousand", 17, 3600)
    gate = asyncio.Semaphore(16)

    async def one() -> Refusal | None:
        async with gate:
            return await limiter.take([(limit, "account"), (MANY, "address")])

    answers = await asyncio.gather(*(one() for _ in range(1000)))
    assert answers.count(None) == 17


async def test_both_limiters_answer_alike_over_random_histories(redis_client: Any, time: Time) -> None:
    chance = random.Random(20261116)
    shared, local = RedisRateLimiter(redis_client, b"pepper", time), InProcessRateLimiter(time)
    limits = [FIVE, TWO, Limit("odd", 3, 7), Limit("tight", 1, 0.7)]
    for step in range(2000):
        spends: list[Spend] = [(limit, chance.choice("ab")) for limit in chance.sample(limits, chance.randint(1, 4))]
        if chance.random() < 0.1:
            await asyncio.gather(shared.give_back(spends), local.give_back(spends))
        else:
            ours, theirs = await asyncio.gather(shared.take(spends), local.take(spends))
            assert ours == theirs, f"step {step}"
        time.pass_seconds(chance.choice([0, 0, 0.1, 0.4, 1, 3, 20]))


async def test_the_servers_own_clock_refills(redis_client: Any) -> None:
    limiter = RedisRateLimiter(redis_client, b"pepper")
    quick = Limit("quick", 1, 0.2)
    assert await limiter.take([(quick, "a")]) is None
    assert await limiter.take([(quick, "a")]) == Refusal(quick, 1)
    async with asyncio.timeout(5):
        while await limiter.take([(quick, "a")]) is not None:
            await asyncio.sleep(0.02)


async def test_p12_no_account_address_or_number_stands_in_redis_and_every_key_ends(redis_client: Any) -> None:
    limiter = RedisRateLimiter(redis_client, b"pepper")
    await limiter.take([(FIVE, "ada@harbour.example"), (MANY, "198.51.100.7"), (TWO, "+447700900123")])
    keys = [key.decode() for key in await redis_client.keys("*")]
    assert sorted(key.split(":")[1] for key in keys) == ["five", "many", "two"]
    assert not any(secret in "".join(keys) for secret in ("ada", "198.51", "7700900123"))
    assert all([0 < await redis_client.pttl(key) <= 3_601_000 for key in keys])
    other = RedisRateLimiter(redis_client, b"another pepper")
    await other.take([(TWO, "+447700900123")])
    assert len(await redis_client.keys("rl:two:*")) == 2


async def test_a11_flushed_scripts_are_loaded_again(redis_client: Any) -> None:
    limiter = RedisRateLimiter(redis_client, b"pepper")
    await limiter.take([(TWO, "a")])
    await redis_client.script_flush()
    await limiter.take([(TWO, "a")])
    assert await limiter.take([(TWO, "a")]) == Refusal(TWO, 5)


async def test_f04_a_store_that_is_away_is_said_never_taken_for_leave(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis-away"), free_port(), password="secret")
    server.start()
    client = connect(server.url, "secret")
    limiter = RedisRateLimiter(client, b"pepper")
    assert await limiter.take([(TWO, "a")]) is None
    server.kill()
    for call in (limiter.take, limiter.give_back):
        with pytest.raises(LimiterUnavailable):
            await call([(TWO, "a")])
    server.start()
    assert await limiter.take([(TWO, "a")]) is None, "it comes back without a restart"
    server.stop()
    await client.aclose()


async def test_f06_a_full_store_is_said_never_taken_for_leave(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = EmbeddedRedis(
        tmp_path_factory.mktemp("redis-full"), free_port(), password="secret", options=["maxmemory 1kb"]
    )
    server.start()
    client = connect(server.url, "secret")
    with pytest.raises(LimiterUnavailable):
        await RedisRateLimiter(client, b"pepper").take([(TWO, "a")])
    await client.aclose()
    server.stop()


async def test_the_limiter_in_this_process_stays_within_its_bound_and_forgets_the_least(time: Time) -> None:
    limiter = InProcessRateLimiter(time, most_keys=1000)
    for _ in range(5):
        await limiter.take([(FIVE, "spent")])
    for number in range(5000):
        await limiter.take([(Limit("short", 10, 10), str(number))])
        time.ms += 1
    assert len(limiter._arrivals) <= 1000
    assert await limiter.take([(FIVE, "spent")]) is not None, "who has the longest to wait is forgotten last"
