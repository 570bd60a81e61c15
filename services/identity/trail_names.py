"""Whose the ids are that audit events and holds carry: the names of a clinic's people and of its apps."""

from collections.abc import Iterable, Mapping

from services.identity.model import ClinicId
from services.identity.store.apps import AppStore
from services.identity.store.roster import RosterStore


class TrailNames:
    def __init__(self, roster: RosterStore, apps: AppStore) -> None:
        self._roster = roster
        self._apps = apps

    async def of(self, clinic_id: ClinicId, ids: Iterable[str | None]) -> Mapping[str, str]:
        """By id; ids of nobody here, or of another clinic, are missing."""
        wanted = {one for one in ids if one}
        if not wanted:
            return {}
        found = await self._roster.names(clinic_id, sorted(wanted))
        if wanted - found.keys():
            found |= {app.id: app.name for app in await self._apps.of_clinic(clinic_id) if app.id in wanted}
        return found
