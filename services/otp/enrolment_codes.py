"""Compares a code with what an enrolment waits for: its secret's codes, or the one that was sent for it."""

from dataclasses import dataclass
from datetime import datetime

from services.common.errors import unavailable
from services.otp import clock_coach, sms_codes, totp
from services.otp.clock_coach import Advice
from services.otp.marks import Marks
from services.otp.model import Enrolment, LoginId, Result
from services.otp.store.accounts import HeldAccount


@dataclass(frozen=True, slots=True)
class EnrolmentCode:
    """What the code turned out to be; with TOTP the step it is of, or, of a wrong one, what it says of the clock."""

    result: Result
    step: int = 0
    retry_after: int = 0
    advice: Advice | None = None

    @property
    def clock_skew_seconds(self) -> int | None:
        return self.advice.skew_seconds if self.advice else None


def compare_totp(enrolment: Enrolment, secret: str, code: str, now: datetime) -> EnrolmentCode:
    burned = enrolment.clock.burned_steps
    match = totp.match(secret, code, now, 0, burned)
    if match is None:
        return EnrolmentCode(Result.WRONG, advice=clock_coach.advise(enrolment.clock, secret, code, now))
    if match.is_spent:
        return EnrolmentCode(Result.ALREADY_USED, retry_after=totp.seconds_to_next_code(now, 0, burned))
    return EnrolmentCode(Result.ACCEPTED, match.step)


async def compare_sms(held: HeldAccount, marks: Marks, enrolment: Enrolment, code: str, now: datetime) -> EnrolmentCode:
    """Spends the code it finds right, and counts a wrong one against it."""
    challenge = await held.challenges.newest(LoginId(enrolment.id))
    result = sms_codes.compare(marks, challenge, code, now)
    if challenge is not None and result is Result.ACCEPTED:
        if not await held.challenges.spend(challenge.id, now):
            raise unavailable("account")
    elif challenge is not None and result is Result.WRONG:
        await held.challenges.count_wrong(challenge.id)
    return EnrolmentCode(result)
