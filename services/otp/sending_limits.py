"""How often codes are sent and enrolments begun: security.md's starting limits, all keys of a request in one take.

Without the limits' store nothing is sent (money is at stake); an enrolment of an authenticator app costs none, so there
this process's own memory counts meanwhile.
"""

import ipaddress
from collections.abc import Sequence

from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.rate_limit import InProcessRateLimiter, Limit, LimiterUnavailable, RateLimiter, Refusal, Spend
from services.otp.sms_codes import MOST_PER_LOGIN, RESEND_AFTER

PAUSE = Limit("sms-pause", 1, RESEND_AFTER.total_seconds())
PER_LOGIN = Limit("sms-login", MOST_PER_LOGIN, 12 * 3600)  # no login outlives 12 hours
PER_USER = Limit("sms-user", 5, 3600)
PER_NUMBER = Limit("sms-number", 5, 3600)
PER_RANGE = Limit("sms-range", 100, 3600)
PER_ADDRESS = Limit("sms-address", 300, 3600)
ENROLMENTS_PER_USER = Limit("enrolments", 20, 3600)


class SendingLimits:
    def __init__(self, limiter: RateLimiter, fallback: InProcessRateLimiter) -> None:
        self._limiter = limiter
        self._fallback = fallback

    async def take_enrolment(self, user_id: str) -> None:
        spends = [(ENROLMENTS_PER_USER, user_id)]
        try:
            refusal = await self._limiter.take(spends)
        except LimiterUnavailable:
            refusal = await self._fallback.take(spends)
        if refusal:
            raise _refused("That was asked for too often. Please wait a little and try again.", refusal.retry_after)

    async def take_sms(self, spends: Sequence[Spend]) -> None:
        try:
            refusal = await self._limiter.take(spends)
        except LimiterUnavailable as error:
            raise unavailable("redis") from error
        if refusal:
            raise _too_many_texts(refusal)

    async def wait_for_sms(self, spends: Sequence[Spend]) -> int:
        """After how many seconds a text that spends this would be let through; 0 where the store does not say."""
        try:
            refusal = await self._limiter.look(spends)
        except LimiterUnavailable:
            return 0
        return refusal.retry_after if refusal else 0

    async def give_back(self, spends: Sequence[Spend]) -> None:
        """Where it is certain that nothing was sent. A store that is away keeps what was spent: the stricter side."""
        try:
            await self._limiter.give_back(spends)
        except LimiterUnavailable:
            return


def login_spends(login: str, user_id: str) -> list[Spend]:
    """What every text of a login spends, whatever number it goes to."""
    return [(PAUSE, login), (PER_LOGIN, login), (PER_USER, user_id)]


def sms_spends(login: str, user_id: str, phone: str, address: str) -> list[Spend]:
    """What one text message spends."""
    spends = [*login_spends(login, user_id), (PER_NUMBER, phone), (PER_RANGE, phone[:-3])]
    if network := _network(address):
        spends.append((PER_ADDRESS, network))
    return spends


def budget_spent(retry_after: int, *, is_locked: bool) -> ServiceError:
    """The guess budget is spent: no code would be looked at. The same words as where one is entered."""
    sentence = (
        "Too many wrong codes were typed for your account. If that was not you, someone knows your password:"
        " change it, or ask your administrator."
    )
    return ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, sentence, retry_after=retry_after, locked=is_locked)


def too_soon(retry_after: int) -> ServiceError:
    """Within the pause between two texts of a login."""
    how_long = "1 second" if retry_after == 1 else f"{retry_after} seconds"
    return _refused(f"Please wait {how_long} before you ask for another code.", retry_after)


def _too_many_texts(refusal: Refusal) -> ServiceError:
    """In words that hold: how long to wait, or that waiting does not help."""
    if refusal.limit is PAUSE:
        return too_soon(refusal.retry_after)
    if refusal.limit is PER_LOGIN:  # frees one code in four hours, and no sign-in waits that long
        sentence = "No more codes are sent in this sign-in. Sign in again, or use another way."
        return _refused(sentence, refusal.retry_after)
    minutes = -(-refusal.retry_after // 60)
    how_long = "1 minute" if minutes == 1 else f"{minutes} minutes"
    return _refused(f"Too many codes were asked for. Please wait {how_long}, or use another way.", refusal.retry_after)


def _refused(sentence: str, retry_after: int) -> ServiceError:
    return ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, sentence, retry_after=retry_after, locked=False)


def _network(address: str) -> str:
    """An IPv6 customer holds a /64, so that is one address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else str(parsed)
