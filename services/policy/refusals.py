"""The refusals that several operations share."""

from datetime import datetime, timedelta

from services.common.errors import ErrorCode, ServiceError, invalid
from services.policy.model import Actor

MOST_REASON_CHARACTERS = 500
FURTHEST = timedelta(days=3660)
"""Ten years. A date near the end of the calendar has no local time in some zones, so none may ever be told."""


def unknown_clinic() -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, "There is no such clinic.")


def check_actor(actor: Actor) -> None:
    """A change names who makes it."""
    if not actor.kind or (actor.kind != "operator" and not actor.id):
        raise invalid("actor", "This field is needed.")


def check_future(field: str, moment: datetime, now: datetime) -> None:
    if not now < moment <= now + FURTHEST:
        raise invalid(field, "This must be in the future." if moment <= now else "This must be within ten years.")


def check_reason(reason: str) -> None:
    """Whatever is less than the rule asks for has a reason that a colleague can read later."""
    if not reason.strip():
        raise invalid("reason", "Give a reason.")
    if "\0" in reason:
        raise invalid("reason", "This contains a character that cannot be used.")
    if len(reason) > MOST_REASON_CHARACTERS:
        raise invalid("reason", f"This must have {MOST_REASON_CHARACTERS} or fewer characters.")
