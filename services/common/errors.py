"""The one typed error that crosses services. It knows no transport: `rpc_errors` and identity's `problems` map it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Why a call could not be answered as asked; the values are the slugs of the HTTP problems."""

    INVALID_REQUEST = "invalid-request"
    INVALID_CREDENTIALS = "invalid-credentials"
    UNAUTHENTICATED = "unauthenticated"
    SECOND_FACTOR_REQUIRED = "second-factor-required"
    ENROLMENT_REQUIRED = "enrolment-required"
    STEP_UP_REQUIRED = "step-up-required"
    INVALID_CODE = "invalid-code"
    CODE_ALREADY_USED = "code-already-used"
    CODE_EXPIRED = "code-expired"
    TOO_MANY_ATTEMPTS = "too-many-attempts"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    GONE = "gone"
    REQUIRED_BY_POLICY = "required-by-policy"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


class ServiceError(Exception):
    """A refusal with a code, a sentence for the person, and extension members (JSON values) that go with it.

    Nothing in `detail` or `members` may be secret: both reach the client. `why` stays here: it is for logs, and for the
    operator at a command.
    """

    why = ""

    def __init__(self, code: ErrorCode, detail: str, **members: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.members: Mapping[str, Any] = members


def unavailable(what: str, retry_after: int = 2, why: str = "") -> ServiceError:
    """The refusal of a service that cannot answer just now; `what` is for logs and `/readyz`, not the person."""
    error = ServiceError(
        ErrorCode.UNAVAILABLE,
        "This is not working just now. Please try again in a moment.",
        retry_after=retry_after,
        away=what,
    )
    error.why = why
    return error


def invalid(field: str, message: str) -> ServiceError:
    """The refusal of one field of a request."""
    errors = [{"field": field, "message": message}]
    return ServiceError(ErrorCode.INVALID_REQUEST, "Something in the request is not right.", errors=errors)


def told_to_operator(error: ServiceError) -> str:
    """The refusal as a command says it: with what is away, and why where that is known."""
    away = error.members.get("away") if error.code is ErrorCode.UNAVAILABLE else None
    if error.why:
        return f"The {away} cannot be used: {error.why}. Nothing was done."
    return f"{error.detail} (no answer from {away})" if away else error.detail
