"""What ends at once when a phone was stolen, or a bypass is undone. Each is one transaction that holds the user's row,
so no sign-in slips through it."""

from datetime import datetime

from services.common.audit import AuditEvent, record
from services.common.postgres import Database
from services.identity.model import BypassId, EndCause, UserId
from services.identity.store.activations import supersede
from services.identity.store.bypass_uses import put_number_back
from services.identity.store.devices import end_devices
from services.identity.store.sessions import end_sessions

_LOCK_USER = "SELECT 1 FROM app_user WHERE id = %s FOR UPDATE"


class RecoveryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def end_everything(self, user_id: UserId, at: datetime, event: AuditEvent | None = None) -> None:
        """Ends the user's sessions, waiting ones too, and forgets their browsers."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [user_id])
            await end_sessions(connection, user_id, at, EndCause.ENDED, keep=None)
            await end_devices(connection, user_id, at, "suspended")
            if event is not None:
                await record(connection, event)

    async def undo(self, user_id: UserId, bypass_id: BypassId, event: AuditEvent) -> bool:
        """The same, takes the password and the unused links away, and puts the number on file back as it was when the
        bypass was used. Whether a second factor is on record as set up in the session that the bypass opened."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [user_id])
            await connection.execute("UPDATE app_user SET password_hash = NULL WHERE id = %s", [user_id])
            await put_number_back(connection, bypass_id, user_id)
            await supersede(connection, user_id)
            await end_sessions(connection, user_id, event.at, EndCause.ENDED, keep=None)
            await end_devices(connection, user_id, event.at, "bypass_undone")
            await record(connection, event)
            cursor = await connection.execute(
                "SELECT enrolled_at FROM bypass_use WHERE bypass_id = %s AND user_id = %s", [bypass_id, user_id]
            )
            row = await cursor.fetchone()
            return row is not None and row["enrolled_at"] is not None
