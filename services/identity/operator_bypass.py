"""The operator's bypass, for a clinic without an administrator who can sign in: the same grant as an administrator's,
in the clinic's audit trail as the operator's."""

from services.common.errors import ErrorCode, ServiceError
from services.identity.bypasses import OPERATOR_SESSION, Grant, Granting
from services.identity.named import person_named
from services.identity.policy_words import Actor, Bypass
from services.identity.store.clinics import ClinicStore
from services.identity.store.staff import StaffStore

_MOST_MINUTES = 24 * 60
_MOST_REASON = 300


class OperatorBypass:
    def __init__(self, clinics: ClinicStore, staff: StaffStore, granting: Granting) -> None:
        self._clinics = clinics
        self._staff = staff
        self._granting = granting

    async def grant(self, slug: str, email: str, grant: Grant) -> Bypass:
        """Lets this person sign in once without a code, to set up a second factor and do nothing else."""
        if not 1 <= grant.expires_in_minutes <= _MOST_MINUTES:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"It lasts 1 to {_MOST_MINUTES} minutes.")
        reason = grant.reason.strip()
        if not 0 < len(reason) <= _MOST_REASON or not reason.isprintable():
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"Give a reason of up to {_MOST_REASON} characters.")
        _, user = await person_named(self._clinics, self._staff, slug, email)
        return await self._granting.grant(user, Actor("operator"), OPERATOR_SESSION, grant)
