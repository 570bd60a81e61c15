"""The refusals that several operations share."""

from services.common.errors import ErrorCode, ServiceError
from services.policy.model import Actor

MOST_REASON_CHARACTERS = 500


def unknown_clinic() -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, "There is no such clinic.")


def invalid(field: str, message: str) -> ServiceError:
    errors = [{"field": field, "message": message}]
    return ServiceError(ErrorCode.INVALID_REQUEST, "The request is not valid.", errors=errors)


def check_actor(actor: Actor) -> None:
    """A change names who makes it."""
    if not actor.kind or (actor.kind != "operator" and not actor.id):
        raise invalid("actor", "is missing")


def check_reason(reason: str) -> None:
    """Whatever is less than the rule asks for has a reason that a colleague can read later."""
    if not reason.strip():
        raise invalid("reason", "is missing")
    if len(reason) > MOST_REASON_CHARACTERS:
        raise invalid("reason", f"must be at most {MOST_REASON_CHARACTERS} characters")
