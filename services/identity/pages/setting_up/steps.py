"""The steps of a set-up, and which of them a page is at: the progress mark."""

from collections.abc import Sequence
from enum import StrEnum

from services.identity.guards import Access
from services.identity.model import Method, SessionState, UserFactors


class Step(StrEnum):
    NUMBER = "number"
    SCAN = "scan"
    TYPE = "type"
    CODES = "codes"


def steps_of(access: Access, factors: UserFactors, method: Method) -> list[Step]:
    """What lies before this person, the number only where a set-up was asked of them; backup codes where none live, and
    where what they came with is replaced."""
    forced = access.state is SessionState.ENROLMENT_REQUIRED
    offer = access.standing.enrolment if access.standing else None
    wants_number = forced and offer is not None and (offer.is_phone_required or access.user.phone is not None)
    replaces = any(factor.method is method for factor in factors.factors)
    makes_codes = forced or replaces or factors.backup_codes_remaining == 0
    taken = {Step.NUMBER: wants_number, Step.SCAN: method is Method.TOTP, Step.TYPE: True, Step.CODES: makes_codes}
    return [step for step, is_taken in taken.items() if is_taken]


def progress(steps: Sequence[Step], now: Step) -> list[tuple[str, str]]:
    """Each step with `past`, `now` or `ahead`."""
    place = steps.index(now) if now in steps else 0
    return [(step.value, "now" if at == place else "past" if at < place else "ahead") for at, step in enumerate(steps)]
