"""What follows of others' events, each once: the row that says so is written in the transaction of what follows, so of
two who follow up one event the second waits for the first and finds it done."""

from datetime import datetime

from psycopg.types.json import Jsonb

from services.common import audit
from services.common.outbox import OutboxEvent
from services.common.postgres import Database
from services.identity.consequences import Consequence
from services.identity.model import BypassId, EndCause, Method, SessionId, UserId
from services.identity.store.bypass_uses import enrolled
from services.identity.store.devices import end_devices
from services.identity.store.notices import NoticeStore
from services.identity.store.session_statements import LOCK_USER
from services.identity.store.sessions import end_sessions

_SETTLE = (
    "INSERT INTO settled_event (id, at, user_id, session_id, kind, detail) VALUES (%s, %s, %s, %s, %s, %s)"
    " ON CONFLICT DO NOTHING"
)
_HAS_REMOVED = (
    "SELECT 1 FROM settled_event WHERE user_id = %s AND at > %s AND session_id = %s AND kind = 'factor_removed'"
    " AND detail ->> 'method' = %s LIMIT 1"
)


class AftermathStore:
    def __init__(self, database: Database, notices: NoticeStore) -> None:
        self._database = database
        self._notices = notices

    async def opened_by(self, event: OutboxEvent) -> BypassId | None:
        """The bypass that opened the session in which it was done."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT bypass_id FROM session WHERE id = %s AND user_id = %s", [event.session_id, event.user_id]
            )
            row = await cursor.fetchone()
        return BypassId(row["bypass_id"]) if row and row["bypass_id"] else None

    async def follow(self, event: OutboxEvent, then: Consequence) -> bool:
        """False where it was followed up before."""
        user_id, at = UserId(event.user_id), event.at
        session_id = SessionId(event.session_id) if event.session_id else None
        async with self._database.transaction() as connection:
            row = [event.id, at, user_id, session_id, event.kind, Jsonb(dict(event.detail))]
            if (await connection.execute(_SETTLE, row)).rowcount != 1:
                return False
            await connection.execute(LOCK_USER, [user_id])
            if then.ends_devices:
                await end_devices(connection, user_id, at, "factor_changed")
            if then.ends_sessions:
                await end_sessions(connection, user_id, at, EndCause.ENDED, keep=session_id)
            if then.ends_proof:
                await connection.execute(
                    "UPDATE session SET verified_at = NULL, proven_by = NULL WHERE id = %s", [session_id]
                )
            if then.enrolled_by is not None:
                await enrolled(connection, then.enrolled_by, at)
            if then.ends_bypass:
                await connection.execute(
                    "UPDATE session SET ends_bypass = true WHERE user_id = %s AND ended_at IS NULL", [user_id]
                )
            await self._notices.put(connection, then.notices)
            if then.record is not None:
                await audit.record(connection, then.record)
        self._notices.ring()
        return True

    async def has_removed(self, user_id: UserId, session_id: SessionId, method: Method, since: datetime) -> bool:
        """Whether this session has removed the factor since then."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_HAS_REMOVED, [user_id, since, session_id, method.value])
            return await cursor.fetchone() is not None

    async def purge(self, before: datetime) -> int:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM settled_event WHERE id IN (SELECT id FROM settled_event WHERE at < %s LIMIT 1000)",
                [before],
            )
            return cursor.rowcount
