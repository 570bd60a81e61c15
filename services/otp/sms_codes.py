"""Codes sent by text message: six random digits, alive for five minutes and five wrong guesses, for one login."""

import secrets
from datetime import datetime, timedelta
from hmac import compare_digest

from services.otp.marks import Marks
from services.otp.model import Challenge, Result

LIFE = timedelta(minutes=5)
MOST_WRONG_GUESSES = 5
RESEND_AFTER = timedelta(seconds=30)
MOST_PER_LOGIN = 3


def new_code() -> str:
    return f"{secrets.randbelow(1_000_000):06d}"


def compare(marks: Marks, challenge: Challenge | None, code: str, now: datetime) -> Result:
    """What a code is to the newest challenge of its login. A challenge that is over or was never handed over compares
    nothing; a spent one recognises its code, which the caller may accept again for the login that spent it."""
    if challenge is None or challenge.delivery_id is None:
        return Result.NO_SUCH_FACTOR
    is_right = compare_digest(marks.challenge(challenge.id, code), challenge.code_mark)
    if challenge.spent_at is not None:
        return Result.ALREADY_USED if is_right else Result.WRONG
    if challenge.ended_at is not None or challenge.wrong_guesses >= MOST_WRONG_GUESSES:
        return Result.NO_SUCH_FACTOR
    if not is_right:
        return Result.WRONG
    return Result.ACCEPTED if now < challenge.expires_at else Result.EXPIRED
