"""Backup codes: one row a slot. Changed only under the account's lock."""

from datetime import datetime

from services.common.postgres import Connection, Database
from services.otp.model import BackupCode, LoginId, UserId
from services.otp.store import rows

_SELECT = f"SELECT {rows.BACKUP_CODE_COLUMNS} FROM backup_code WHERE user_id = %s AND slot = %s"  # noqa: S608
_SPEND = (
    "UPDATE backup_code SET hash = NULL, spent_mark = %s, spent_login_id = %s, spent_at = %s"
    " WHERE user_id = %s AND slot = %s AND hash IS NOT NULL RETURNING true"
)


class HeldBackupCodes:
    """The backup codes of an account that is held."""

    def __init__(self, connection: Connection, user_id: UserId) -> None:
        self._connection = connection
        self._user_id = user_id

    async def at(self, slot: str) -> BackupCode | None:
        return await _at(self._connection, self._user_id, slot)

    async def spend(self, slot: str, mark: bytes, login_id: LoginId, now: datetime) -> bool:
        """False where it was spent already, which the lock keeps from happening and this from mattering."""
        cursor = await self._connection.execute(_SPEND, [mark, login_id, now, self._user_id, slot])
        return await cursor.fetchone() is not None

    async def replace(self, set_id: str, slots: str, hashes: tuple[str, ...]) -> None:
        """The old set is dead the moment the new one lives."""
        await self.remove()
        await self._connection.execute(
            "INSERT INTO backup_code (user_id, slot, set_id, hash)"
            " SELECT %s, slot, %s, hash FROM unnest(%s::text[], %s::text[]) AS fresh (slot, hash)",
            [self._user_id, set_id, list(slots), list(hashes)],
        )

    async def remove(self) -> None:
        await self._connection.execute("DELETE FROM backup_code WHERE user_id = %s", [self._user_id])


class BackupCodes:
    """Backup codes read outside a lock, so that hashing holds nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def at(self, user_id: UserId, slot: str) -> BackupCode | None:
        async with self._database.connection() as connection:
            return await _at(connection, user_id, slot)


async def _at(connection: Connection, user_id: UserId, slot: str) -> BackupCode | None:
    cursor = await connection.execute(_SELECT, [user_id, slot])
    row = await cursor.fetchone()
    return rows.backup_code(row) if row else None
