"""Refusals in words for a person: what happened, what helps, and how long to wait."""

from services.common.errors import ErrorCode, ServiceError

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
METHOD_NAMES = {"totp": "Authenticator app", "sms": "Text message", "backup_code": "Backup code"}
ROLE_NAMES = {"admin": "Administrator", "practitioner": "Practitioner", "receptionist": "Receptionist"}
_DELIVERIES = {
    "queued": "It is on its way.",
    "sending": "It is on its way.",
    "sent": "Your network has it; it should arrive in a moment.",
    "delivered": "It has arrived.",
    "failed": "It could not be delivered.",
    "unknown": "It may have been held up; if it does not come, ask for a new one.",
    "expired": "That code is too old now; ask for a new one.",
}


def told(error: ServiceError) -> str:
    """The refusal as a sentence or two."""
    parts = [error.detail]
    fields = error.members.get("errors") or []
    if fields:
        parts = [str(fields[0]["message"])]
    if hint := error.members.get("hint"):
        parts.append(str(hint))
    left = error.members.get("attempts_left")
    if error.code is ErrorCode.INVALID_CODE and isinstance(left, int) and left <= 3:
        parts.append(f"{left} {'try' if left == 1 else 'tries'} left for now.")
    wait = error.members.get("retry_after")
    if error.code is ErrorCode.CODE_ALREADY_USED and wait:
        parts.append(f"The next one comes within {wait} second{'' if wait == 1 else 's'}.")
    elif error.code is ErrorCode.TOO_MANY_ATTEMPTS and wait:
        parts.append(f"Try again in {_span(int(wait))}.")
    return " ".join(parts)


def delivery_in_words(status: str, detail: str) -> str:
    return f"{_DELIVERIES.get(status, '')} {detail}".strip()


def in_fours(key: str) -> str:
    """A key as it is read aloud and typed: groups of four."""
    return " ".join(key[start : start + 4] for start in range(0, len(key), 4))


def _span(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    minutes = -(-seconds // 60)
    return f"{minutes} minutes" if minutes < 90 else f"{-(-minutes // 60)} hours"
