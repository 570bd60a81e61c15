"""Rate limits: GCRA, all keys of a request in one script, nothing spent on a refusal.

The counters are a filter in front of the truth, never the truth: a lost Redis opens no account. A caller that meets
`LimiterUnavailable` decides what the stricter answer is.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError


@dataclass(frozen=True, slots=True)
class Limit:
    """`count` in `seconds`; a full burst at once, then one more each `seconds / count`."""

    name: str
    count: int
    seconds: float

    @property
    def interval_ms(self) -> float:
        return self.seconds * 1000 / self.count


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that refused, and after how many whole seconds it would not."""

    limit: Limit
    retry_after: int


class LimiterUnavailable(Exception):
    """The limits' store did not answer; nothing is known."""


Spend = tuple[Limit, str]
"""A limit and whom it is spent for (an account's id, an address, a number); hashed before it becomes a key."""


class RateLimiter(Protocol):
    async def take(self, spends: Sequence[Spend]) -> Refusal | None:
        """Spends one of each, or none of them and says which limit refuses."""

    async def look(self, spends: Sequence[Spend]) -> Refusal | None:
        """What `take` would say now; spends nothing."""

    async def give_back(self, spends: Sequence[Spend]) -> None:
        """Undoes one `take` of each."""


# KEYS: one a limit. ARGV: now in ms (0: the server's own clock), then for each key its interval and window in ms.
# A key holds the theoretical arrival time (GCRA): a request conforms while it is at most one window ahead of now.
_LOOK = """
local now = tonumber(ARGV[1])
if now == 0 then local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end
local worst, wait = 0, 0
local next = {}
for i, key in ipairs(KEYS) do
  local interval, window = tonumber(ARGV[i * 2]), tonumber(ARGV[i * 2 + 1])
  local tat = math.max(tonumber(redis.call('GET', key) or 0), now)
  next[i] = tat + interval
  local over = next[i] - window - now
  if over > 0.5 and over > wait then worst, wait = i, over end
end
if worst > 0 then return {worst, math.ceil(wait)} end
"""
_TAKE = f"""{_LOOK}
for i, key in ipairs(KEYS) do
  redis.call('SET', key, string.format('%.3f', next[i]), 'PX', math.ceil(next[i] - now) + 1000)
end
return {{0, 0}}
"""

_GIVE_BACK = """
local now = tonumber(ARGV[1])
if now == 0 then local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end
for i, key in ipairs(KEYS) do
  local tat = tonumber(redis.call('GET', key) or 0) - tonumber(ARGV[i * 2])
  if tat > now then redis.call('SET', key, string.format('%.3f', tat), 'PX', math.ceil(tat - now) + 1000)
  else redis.call('DEL', key) end
end
return 0
"""


_WAIT_SECONDS = 0.25
"""For a connection, and for an answer: the sign-in goes on without the shared limits rather than wait longer."""


def connect(url: str, password: str) -> "Redis":
    """A client for limits: small, quick to give up, never retried (a script sent twice would count twice)."""
    pool = BlockingConnectionPool.from_url(
        url,
        password=password,
        max_connections=16,
        timeout=_WAIT_SECONDS,
        socket_timeout=_WAIT_SECONDS,
        socket_connect_timeout=_WAIT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return Redis(connection_pool=pool)


class RedisRateLimiter:
    """The shared limiter. `pepper` keys the hash, so that no address, e-mail or number stands in Redis."""

    def __init__(self, redis: "Redis", pepper: bytes, now_ms: Callable[[], int] | None = None) -> None:
        self._take = redis.register_script(_TAKE)
        self._look = redis.register_script(f"{_LOOK} return {{0, 0}}")
        self._give_back = redis.register_script(_GIVE_BACK)
        self._pepper = hashlib.blake2b(pepper, digest_size=32).digest()
        self._now_ms = now_ms or (lambda: 0)

    async def take(self, spends: Sequence[Spend]) -> Refusal | None:
        return await self._ask(self._take, spends)

    async def look(self, spends: Sequence[Spend]) -> Refusal | None:
        return await self._ask(self._look, spends)

    async def _ask(self, script: "AsyncScript", spends: Sequence[Spend]) -> Refusal | None:
        keys, arguments = self._encode(spends)
        try:
            worst, wait_ms = await script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise LimiterUnavailable(type(error).__name__) from error
        if not worst:
            return None
        return Refusal(spends[int(worst) - 1][0], max(1, -(-int(wait_ms) // 1000)))

    async def give_back(self, spends: Sequence[Spend]) -> None:
        keys, arguments = self._encode(spends)
        try:
            await self._give_back(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise LimiterUnavailable(type(error).__name__) from error

    def _encode(self, spends: Sequence[Spend]) -> tuple[list[str], list[float]]:
        keys = [f"rl:{limit.name}:{self._digest(whom)}" for limit, whom in spends]
        numbers = [number for limit, _ in spends for number in (limit.interval_ms, limit.seconds * 1000)]
        return keys, [self._now_ms(), *numbers]

    def _digest(self, whom: str) -> str:
        return hashlib.blake2b(whom.encode(), key=self._pepper, digest_size=16).hexdigest()


class InProcessRateLimiter:
    """The same rule in this process's memory, for when the store is away. Forgets what is over; bounded in size."""

    def __init__(self, now_ms: Callable[[], float] = lambda: time.monotonic() * 1000, most_keys: int = 100_000) -> None:
        self._arrivals: dict[tuple[str, str], float] = {}
        self._now_ms = now_ms
        self._most_keys = most_keys

    async def take(self, spends: Sequence[Spend]) -> Refusal | None:
        now = self._now_ms()
        refusal, proposed = self._judge(spends, now)
        if refusal:
            return refusal
        if len(self._arrivals) + len(proposed) > self._most_keys:
            self._forget(now)
        self._arrivals.update(proposed)
        return None

    async def look(self, spends: Sequence[Spend]) -> Refusal | None:
        return self._judge(spends, self._now_ms())[0]

    def _judge(self, spends: Sequence[Spend], now: float) -> tuple[Refusal | None, dict[tuple[str, str], float]]:
        """Whether one of the limits refuses, and else the arrivals to remember."""
        proposed: dict[tuple[str, str], float] = {}
        worst: Limit | None = None
        wait_ms = 0.0
        for limit, whom in spends:
            key = (limit.name, whom)
            arrival = max(self._arrivals.get(key, 0.0), now) + limit.interval_ms
            over_ms = arrival - limit.seconds * 1000 - now
            if over_ms > 0.5 and over_ms > wait_ms:
                worst, wait_ms = limit, over_ms
            proposed[key] = arrival
        return Refusal(worst, max(1, math.ceil(wait_ms / 1000))) if worst else None, proposed

    async def give_back(self, spends: Sequence[Spend]) -> None:
        for limit, whom in spends:
            key = (limit.name, whom)
            if key in self._arrivals:
                self._arrivals[key] -= limit.interval_ms

    def _forget(self, now: float) -> None:
        """Drops what is over and, where that is not enough, the tenth that has the least left to remember."""
        living = sorted((at, key) for key, at in self._arrivals.items() if at > now)
        surplus = max(0, len(living) - self._most_keys * 9 // 10)
        self._arrivals = {key: at for at, key in living[surplus:]}
