"""Refusals in words for a person: what happened, what helps, and how long to wait."""

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from services.common.errors import ErrorCode, ServiceError
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked

STATUS = {
    ErrorCode.INVALID_REQUEST: 422,
    ErrorCode.INVALID_CREDENTIALS: 401,
    ErrorCode.INVALID_CODE: 422,
    ErrorCode.CODE_ALREADY_USED: 422,
    ErrorCode.CODE_EXPIRED: 422,
    ErrorCode.TOO_MANY_ATTEMPTS: 429,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.GONE: 410,
    ErrorCode.REQUIRED_BY_POLICY: 409,
    ErrorCode.CONFLICT: 409,
    ErrorCode.UNAVAILABLE: 503,
}
METHOD_NAMES = {
    "totp": marked("Authenticator app"),
    "sms": marked("Text message"),
    "backup_code": marked("Backup code"),
}
ROLE_NAMES = {
    "admin": marked("Administrator"),
    "practitioner": marked("Practitioner"),
    "receptionist": marked("Receptionist"),
}
_DELIVERIES = {
    "queued": marked("It is on its way."),
    "sending": marked("It is on its way."),
    "sent": marked("Your mobile network has it; it should arrive in a moment."),
    "delivered": marked("It has arrived."),
    "failed": marked("It could not be delivered."),
    "unknown": marked("It may have been held up; if it does not come, ask for a new one."),
    "expired": marked("That code is too old now; ask for a new one."),
}

_NUMBER = re.compile(r"\d")


def told(speech: Speech, error: ServiceError) -> str:
    """The refusal as a sentence or two."""
    clock = clock_of(speech, error)
    parts = [speech.heard("The code is wrong." if clock else error.detail)]
    if fields := error.members.get("errors"):
        parts = [speech.heard(str(fields[0]["message"]))]
    if (hint := error.members.get("hint")) and not clock:
        parts.append(speech.heard(str(hint)))
    left = error.members.get("attempts_left")
    if error.code is ErrorCode.INVALID_CODE and isinstance(left, int) and 0 < left <= 3:
        parts.append(speech.say_many("%(count)s try left for now.", "%(count)s tries left for now.", left))
    wait = error.members.get("retry_after")
    if error.code is ErrorCode.CODE_ALREADY_USED and wait:
        parts.append(speech.say("The next one comes within %(time)s.", time=speech.span(int(wait))))
    elif error.code is ErrorCode.TOO_MANY_ATTEMPTS and wait and not _NUMBER.search(error.detail):
        # Some sentences say themselves how long.
        parts.append(speech.say("Try again in %(time)s.", time=speech.span(int(wait))))
    return " ".join(parts)


def clock_of(speech: Speech, error: ServiceError | None) -> dict[str, object] | None:
    """By how much a phone's clock is wrong, and which way, where the refusal of a code says so."""
    skew = error.members.get("clock_skew_seconds") if error else None
    return {"by": _off_by(speech, abs(skew)), "is_fast": skew > 0} if isinstance(skew, int) else None


def _off_by(speech: Speech, seconds: int) -> str:
    hours, minutes = round(seconds / 3600), round(seconds / 60)
    if hours and abs(seconds - hours * 3600) <= 120:  # a wrong time zone
        return speech.say_many("%(count)s hour", "%(count)s hours", hours)
    if seconds >= 90:
        return speech.say_many("%(count)s minute", "%(count)s minutes", minutes)
    return speech.say_many("%(count)s second", "%(count)s seconds", seconds)


def errors_by_field(speech: Speech, error: ServiceError | None) -> dict[str, str]:
    """What is wrong with each field, where the refusal says so."""
    fields = (error.members.get("errors") if error else None) or []
    return {str(field["field"]): speech.heard(str(field["message"])) for field in fields}


def delivery_in_words(speech: Speech, status: str, detail: str) -> str:
    return f"{speech.say(_DELIVERIES.get(status, ''))} {speech.heard(detail)}".strip()


def number_in_words(number: str) -> str:
    """A telephone number as it is read: `+44 7700 900123`."""
    try:
        return phonenumbers.format_number(phonenumbers.parse(number), PhoneNumberFormat.INTERNATIONAL)
    except NumberParseException:
        return number


def in_fours(key: str) -> str:
    """A key as it is read aloud and typed: groups of four."""
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))
