"""Bypasses: one row each, at most one unused for a user, which an index guards. Each change is a guarded UPDATE under
the clinic's lock: of all that try to spend one, one gets it (P5), were the lock to fail."""

from datetime import datetime
from typing import Any

from services.common.postgres import Connection, Database
from services.policy.model import Bypass, BypassId, BypassState, ClinicId, SessionId, UserId
from services.policy.store import rows

_UNUSED = "SELECT * FROM bypass WHERE clinic_id = %s AND user_id = %s AND state = 'unused'"
_LAST_USED = (
    "SELECT * FROM bypass WHERE clinic_id = %s AND user_id = %s AND state = 'used' AND used_at > %s"
    " ORDER BY used_at DESC LIMIT 1"
)
_INSERT = (
    "INSERT INTO bypass (id, clinic_id, user_id, state, reason, suspend_factors, granted_by_kind, granted_by_id,"
    " granted_by_address, granted_at, expires_at) VALUES (%s, %s, %s, 'unused', %s, %s, %s, %s, %s, %s, %s)"
)
_USE = (
    "UPDATE bypass SET state = 'used', used_at = %(at)s, used_session_id = %(session_id)s"
    " WHERE id = %(id)s AND clinic_id = %(clinic_id)s AND state = 'unused' AND expires_at > %(at)s RETURNING *"
)
_MOVE = "UPDATE bypass SET state = %s WHERE id = %s AND clinic_id = %s AND state = %s RETURNING *"


class LockedBypasses:
    """The bypasses of a clinic that is locked."""

    def __init__(self, connection: Connection, clinic_id: ClinicId) -> None:
        self._connection = connection
        self._clinic_id = clinic_id

    async def unused(self, user_id: UserId) -> Bypass | None:
        """The one that was neither used nor ended, whether or not it is still in time."""
        return await self._one(_UNUSED, [self._clinic_id, user_id])

    async def last_used(self, user_id: UserId, since: datetime) -> Bypass | None:
        """The last one used after `since` and not undone."""
        return await self._one(_LAST_USED, [self._clinic_id, user_id, since])

    async def add(self, bypass: Bypass) -> None:
        by = bypass.granted_by
        head = [bypass.id, self._clinic_id, bypass.user_id, bypass.reason, bypass.suspend_factors]
        values = [*head, by.kind, by.id, by.address, bypass.granted_at, bypass.expires_at]
        await self._connection.execute(_INSERT, values)

    async def use(self, bypass_id: BypassId, session_id: SessionId, at: datetime) -> Bypass | None:
        """Spends it; None where it cannot be spent any more."""
        values = {"at": at, "session_id": session_id, "id": bypass_id, "clinic_id": self._clinic_id}
        return await self._one(_USE, values)

    async def move(self, bypass: Bypass, state: BypassState) -> Bypass | None:
        """Takes it to another state from the one it was read in; None where it is in that no longer."""
        return await self._one(_MOVE, [state.value, bypass.id, self._clinic_id, bypass.state.value])

    async def _one(self, statement: Any, values: Any) -> Bypass | None:
        cursor = await self._connection.execute(statement, values)
        row = await cursor.fetchone()
        return rows.bypass(row) if row else None


class Bypasses:
    """Bypasses read outside a lock: for looking, never for spending."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, clinic_id: ClinicId, bypass_id: BypassId) -> Bypass | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT * FROM bypass WHERE id = %s AND clinic_id = %s", [bypass_id, clinic_id]
            )
            row = await cursor.fetchone()
            return rows.bypass(row) if row else None
