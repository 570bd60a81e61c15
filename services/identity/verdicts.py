"""What a person is told of a code that was not accepted, and what would help (R9)."""

from services.common.errors import ErrorCode, ServiceError, unavailable
from services.identity.model import Method
from services.identity.otp_words import (
    Verdict,
    VerdictResult,
)

_HOUR = 3600
_SPENT = (
    "Too many wrong codes were typed for your account. If that was not you, someone knows your password: change it, or"
    " ask your administrator."
)
_TOTP_USED = "This code, or a newer one, has been used already. Wait for the next one."
_SET_CLOCK = (
    "Let your phone set its date, time and time zone by itself. iPhone: Settings > General > Date & Time > Set"
    " Automatically. Android: Settings > System > Date & time > Set automatically. Then take the next code that the"
    " app shows."
)
_HINTS = {
    Method.TOTP: "Take the code that the app shows now, from the entry that names this clinic and your e-mail address.",
    Method.SMS: "Take the code from the newest message; an earlier one no longer works.",
    Method.BACKUP_CODE: "Take a code from the newest list that you have not used; older lists no longer work.",
}


def refusal_for(verdict: Verdict, method: Method) -> ServiceError:
    """The refusal for any verdict but an acceptance; one that cannot be understood is `unavailable`."""
    if verdict.result is VerdictResult.WRONG:
        return _wrong(verdict, method)
    if verdict.result is VerdictResult.ALREADY_USED:
        return ServiceError(
            ErrorCode.CODE_ALREADY_USED,
            _TOTP_USED if method is Method.TOTP else "This code has been used already; each works once.",
            retry_after=verdict.retry_after_seconds,
        )
    if verdict.result is VerdictResult.EXPIRED:
        return ServiceError(ErrorCode.CODE_EXPIRED, "This code is too old. Ask for a new one.")
    if verdict.result is VerdictResult.TOO_MANY_ATTEMPTS:
        return ServiceError(
            ErrorCode.TOO_MANY_ATTEMPTS,
            _SPENT,
            retry_after=max(1, verdict.retry_after_seconds),
            locked=verdict.is_locked,
        )
    if verdict.result is VerdictResult.MALFORMED:
        return ServiceError(
            ErrorCode.INVALID_REQUEST,
            "This does not look like a code.",
            errors=[{"field": "code", "message": "This does not look like a code."}],
        )
    return unavailable("otp")


def _wrong(verdict: Verdict, method: Method) -> ServiceError:
    skew = verdict.clock_skew_seconds
    if skew is None:
        detail, hint = "The code is wrong.", _HINTS[method]
    else:
        by, way = _span(abs(skew)), "fast" if skew > 0 else "slow"
        detail = f"The code is wrong: the clock of your phone is {by} {way}."
        hint = _SET_CLOCK
    if verdict.attempts_left == 0:  # the next one is looked at only later, so no code of now helps
        hint = _last_try(verdict) if skew is None else f"{_last_try(verdict)} {_SET_CLOCK}"
    return ServiceError(
        ErrorCode.INVALID_CODE,
        detail,
        attempts_left=verdict.attempts_left,
        clock_skew_seconds=skew,
        hint=hint,
    )


def _last_try(verdict: Verdict) -> str:
    if verdict.is_locked:
        return (
            "That was the last try: your account takes no more codes. Ask an administrator of your clinic for a new"
            " password, or to let you in once."
        )
    minutes = -(-verdict.retry_after_seconds // 60)
    if minutes < 1:
        return "That was the last try for now."
    if minutes <= 2 * 60:
        how_long = "1 minute" if minutes == 1 else f"{minutes} minutes"
        return f"That was the last try for now. You can try again in {how_long}."
    return f"That was the last try for now. You can try again in {-(-minutes // 60)} hours."


def _span(seconds: int) -> str:
    if seconds >= _HOUR - 120 and min(seconds % _HOUR, -seconds % _HOUR) <= 120:
        hours = round(seconds / _HOUR)
        return f"{hours} hour{'s' if hours != 1 else ''}"
    if seconds >= 90:
        minutes = round(seconds / 60)
        return f"{minutes} minutes"
    return f"{seconds} seconds"
