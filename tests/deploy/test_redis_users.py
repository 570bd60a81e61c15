"""The Redis users as bootstrap makes them, on a real Redis: what each may do, and what it may not (A68, P22)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from deploy.bootstrap import make_files
from deploy.credentials import Layout
from deploy.embedded import EmbeddedRedis, free_port
from services.common.rate_limit import Limit, RedisRateLimiter, connect

LIMIT = Limit("tries", 2, 60)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    root = tmp_path_factory.mktemp("state")
    made = Layout(root, root / "authority")
    make_files(made, database_exists=False)
    return made


@pytest.fixture(scope="module")
def limits(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(
        tmp_path_factory.mktemp("limits"), free_port(), acl_file=layout.secrets("redis") / "users.acl"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def broker(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(
        tmp_path_factory.mktemp("broker"), free_port(), acl_file=layout.secrets("broker") / "users.acl"
    )
    server.start()
    yield server
    server.stop()


def password(path: Path) -> str:
    return path.read_text()


@pytest.mark.parametrize("user", ["identity", "otp"])
async def test_a_limiter_user_can_limit_and_give_back(layout: Layout, limits: EmbeddedRedis, user: str) -> None:
    redis = connect(f"redis://{user}@127.0.0.1:{limits.port}/0", password(layout.secrets(user) / "redis_password"))
    limiter = RedisRateLimiter(redis, user.encode())
    whom = [(LIMIT, "someone")]
    assert await limiter.take(whom) is None
    assert await limiter.take(whom) is None
    assert await limiter.take(whom) is not None
    await limiter.give_back(whom)
    assert await limiter.take(whom) is None
    await redis.aclose()


@pytest.mark.parametrize("user", ["identity", "otp"])
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("LPUSH", "deliveries", "x"),
        ("GET", "deliveries"),
        ("SET", "_kombu.binding.deliveries", "x"),
        ("EVAL", "return redis.call('GET', 'deliveries')", "0"),
        ("EVAL", "return redis.call('LPUSH', 'rl:x', 'y')", "1", "rl:x"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("SCRIPT", "FLUSH"),
        ("CLIENT", "LIST"),
        ("SHUTDOWN",),
    ],
    ids=lambda command: " ".join(command)[:40],
)
def test_a68_a_limiter_user_can_do_nothing_else(
    layout: Layout, limits: EmbeddedRedis, user: str, command: tuple[str, ...]
) -> None:
    secret = password(layout.secrets(user) / "redis_password")
    with (
        Redis(port=limits.port, username=user, password=secret) as redis,
        pytest.raises((NoPermissionError, ResponseError), match=r"permission|NOPERM|can't"),
    ):
        redis.execute_command(*command)


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST"), ("SHUTDOWN",), ("MONITOR",)]
)
def test_a68_the_queue_user_can_queue_but_not_rule(
    layout: Layout, broker: EmbeddedRedis, command: tuple[str, ...]
) -> None:
    secret = password(layout.secrets("worker") / "broker_password")
    with Redis(port=broker.port, username="notifier", password=secret) as redis:
        redis.lpush("deliveries", "x")
        assert redis.brpop(["deliveries"], timeout=1) == (b"deliveries", b"x")
        with pytest.raises(NoPermissionError):
            redis.execute_command(*command)


def test_p22_users_of_one_redis_are_strangers_to_the_other(
    layout: Layout, limits: EmbeddedRedis, broker: EmbeddedRedis
) -> None:
    for port, user, path in (
        (limits.port, "notifier", layout.secrets("worker") / "broker_password"),
        (broker.port, "identity", layout.secrets("identity") / "redis_password"),
        (broker.port, "otp", layout.secrets("otp") / "redis_password"),
    ):
        with Redis(port=port, username=user, password=password(path)) as redis, pytest.raises(AuthenticationError):
            redis.ping()


def test_without_a_password_nobody_gets_in(limits: EmbeddedRedis, broker: EmbeddedRedis) -> None:
    for port in (limits.port, broker.port):
        with Redis(port=port) as redis, pytest.raises(AuthenticationError):
            redis.ping()
        with Redis(port=port, username="default", password="") as redis, pytest.raises(AuthenticationError):
            redis.ping()
