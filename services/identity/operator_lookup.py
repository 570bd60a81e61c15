"""Who of a clinic has which e-mail address, for commands of services that know users by their ids alone."""

from collections.abc import Sequence

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import ClinicId, UserId, email_key
from services.identity.named import clinic_named
from services.identity.store.clinics import ClinicStore
from services.identity.store.imports import ImportStore

_MOST = 500


class OperatorLookup:
    def __init__(self, clinics: ClinicStore, store: ImportStore) -> None:
        self._clinics = clinics
        self._store = store

    async def ids(self, slug: str, emails: Sequence[str]) -> tuple[ClinicId, list[UserId | None]]:
        """In the same order; None where there is nobody."""
        if len(emails) > _MOST:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"up to {_MOST} e-mail addresses at once")
        clinic = await clinic_named(self._clinics, slug)
        found = await self._store.ids(clinic.id, emails)
        return clinic.id, [found.get(email_key(email)) for email in emails]
