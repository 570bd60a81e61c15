"""Rate limits of the gateway. The shared limiter is asked first; while it is away this process counts by itself, so
that sign-in goes on and still has a bound (security.md, "Limits' store down")."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def password_spends(slug: str, email: str, address: str) -> list[Spend]:
    """What an attempt with a password is counted under; the same for accounts that do not exist."""
    account = f"{slug_key(slug)}\n{email_key(email)}"
    return [
        (PASSWORD_PAIR, f"{account}\n{network_of(address)}"),
        (PASSWORD_ADDRESS, subscriber_of(address)),
    ]
