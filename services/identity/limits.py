"""Rate limits of the gateway. The shared limiter is asked first; while it is away this process counts by itself, so
that sign-in goes on and still has a bound (security.md, "Limits' store down")."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.common.rate_limit import InProcessRateLimiter, Limit, LimiterUnavailable, RateLimiter, Spend
from services.identity.addresses import network_of, subscriber_of
from services.identity.model import email_key, slug_key

# Wrong passwords only. A stranger spends the pair of the account and their own network, never the owner's (A12); a
# clinic's hundred people behind one router fit the address's limit.
PASSWORD_PAIR = Limit("password-pair", 10, 300)
PASSWORD_ADDRESS = Limit("password-address", 300, 300)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken, and from whom, so that it can be given back to the same."""

    limiter: RateLimiter
    spends: Sequence[Spend]

    async def give_back(self) -> None:
        """What turned out not to count. Where the store has gone away meanwhile, it has forgotten anyway."""
        try:
            await self.limiter.give_back(self.spends)
        except LimiterUnavailable as error:
            _log.warning("limit_not_given_back", error=str(error))


class Limits:
    def __init__(self, shared: RateLimiter, own: InProcessRateLimiter) -> None:
        self._shared = shared
        self._own = own

    async def take(self, spends: Sequence[Spend]) -> Taken:
        """Spends one of each. Raises `too-many-attempts` where one of them refuses; then nothing was spent."""
        limiter: RateLimiter = self._shared
        try:
            refusal = await limiter.take(spends)
        except LimiterUnavailable as error:
            _log.warning("limiter_away", error=str(error))
            limiter = self._own
            refusal = await limiter.take(spends)
        if refusal is not None:
            raise ServiceError(
                ErrorCode.TOO_MANY_ATTEMPTS,
                "Too many attempts. Please wait a moment and try again.",
                retry_after=refusal.retry_after,
                locked=False,
            )
        return Taken(limiter, spends)


class Attempt:
    """One try with a password; it counts unless the password was right."""

    was_right = False


@dataclass(slots=True)
class _Pair:
    """The attempts of one account and network in this process: how many there are, and those that have taken, or are
    taking, and may yet give back."""

    under_way: int = 0
    open: list[asyncio.Event] = field(default_factory=list)
    settled: int = 0


class PasswordAttempts:
    """Counts wrong passwords only. An attempt is taken before it is compared and given back when it was right; one that
    is refused while others for the same account and network are still being compared waits for these, so that many
    right ones at once never refuse each other."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pairs: dict[Spend, _Pair] = {}

    @asynccontextmanager
    async def attempt(self, slug: str, email: str, address: str) -> AsyncIterator[Attempt]:
        """Raises `too-many-attempts` where the account, from this network, or the address may try no more now."""
        spends = password_spends(slug, email, address)
        pair = self._pairs.setdefault(spends[0], _Pair())
        pair.under_way += 1
        attempt, done = Attempt(), asyncio.Event()
        try:
            taken = await self._take(pair, done, spends)
            try:
                yield attempt
            finally:
                if attempt.was_right:
                    await taken.give_back()
        finally:
            _settle(pair, done)
            pair.under_way -= 1
            if not pair.under_way:
                del self._pairs[spends[0]]

    async def _take(self, pair: _Pair, done: asyncio.Event, spends: Sequence[Spend]) -> Taken:
        while True:
            settled = pair.settled
            pair.open.append(done)
            try:
                return await self._limits.take(spends)
            except ServiceError:
                pair.open.remove(done)
                if pair.open:
                    await pair.open[0].wait()
                elif pair.settled == settled:
                    raise


def _settle(pair: _Pair, done: asyncio.Event) -> None:
    if done in pair.open:
        pair.open.remove(done)
        pair.settled += 1
    done.set()


def password_spends(slug: str, email: str, address: str) -> list[Spend]:
    """What an attempt with a password is counted under; the same for accounts that do not exist."""
    account = f"{slug_key(slug)}\n{email_key(email)}"
    return [
        (PASSWORD_PAIR, f"{account}\n{network_of(address)}"),
        (PASSWORD_ADDRESS, subscriber_of(address)),
    ]
