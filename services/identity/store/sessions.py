"""Sessions as rows. Tokens come in as SHA-256 digests only.

A token is rotated by one guarded UPDATE on the digest it replaces, so of parallel requests with one token exactly one
wins (P14). Opening and rotating lock the user's row first: a disabled user or a changed password lets no session
through, and the ten-session limit cannot be overrun by a race (A66).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Connection, Database
from services.identity.model import Client, EndCause, Session, SessionId, SignedIn, UserId
from services.identity.notice_words import Notice
from services.identity.store.bypass_uses import begun
from services.identity.store.devices import remember
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.phone_changes import prove
from services.identity.store.rotation import Rotation, rotation_values
from services.identity.store.seen_browsers import SeenBrowsers
from services.identity.store.session_rows import BY_DIGEST, SESSION_COLUMNS, session_from, signed_in_from
from services.identity.store.session_statements import END_SURPLUS, LIVE, LOCK_USER, OPEN, REPLY_SEEN, ROTATE, SEEN


class SessionStore:
    def __init__(
        self,
        database: Database,
        numbers: PhoneNumbers,
        notices: NoticeStore,
        browsers: SeenBrowsers,
        most_active: int = 10,
    ) -> None:
        self._database = database
        self._numbers = numbers
        self._notices = notices
        self._browsers = browsers
        self._others = most_active - 1

    async def by_digest(self, digest: bytes) -> SignedIn | EndCause | None:
        """The session with this token; why it has none any more, for a token that was replaced; None for a stranger."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(BY_DIGEST, [digest])
            row = await cursor.fetchone()
            if row is not None:
                return signed_in_from(row, self._numbers)
            cursor = await connection.execute("SELECT cause FROM replaced_token WHERE digest = %s", [digest])
            row = await cursor.fetchone()
        return EndCause(row["cause"]) if row else None

    async def open(
        self, session: Session, password_hash: str, event: AuditEvent, *, seen_in: Client | None = None
    ) -> bool:
        """Adds a session. False where the user was disabled, or their password changed, since they were looked up.
        `seen_in`: the browser in which it is active at once."""
        values = {**_values(session), "password_hash": password_hash, **audit.named(event)}
        if session.waiting_until is not None:
            async with self._database.connection() as connection:
                return (await connection.execute(OPEN, values)).rowcount == 1
        seen = None
        async with self._together() as connection:
            await connection.execute(LOCK_USER, [session.user_id])
            cursor = await connection.execute(OPEN, values)
            await self._end_surplus(connection, session, session.token_digest, session.authenticated_at)
            if seen_in is not None:
                at, digest = session.authenticated_at, session.token_digest
                seen = await connection.execute(*self._browsers.statement(session, digest, seen_in, at))
        self._ring_for(seen)
        return cursor.rowcount == 1

    async def open_by_bypass(
        self,
        session: Session,
        password_hash: str,
        event: AuditEvent,
        granted_by: UserId | None,
        notices: Sequence[Notice],
    ) -> bool:
        """The same for one that a bypass opens, with what is told of it. `granted_by`: None for the operator."""
        values = {**_values(session), "password_hash": password_hash, **audit.named(event)}
        async with self._database.transaction() as connection:
            if (await connection.execute(OPEN, values)).rowcount != 1:
                return False
            await begun(connection, session, granted_by)
            await self._notices.put(connection, notices)
        self._notices.ring()
        return True

    async def rotate(self, session: Session, rotation: Rotation, event: AuditEvent) -> Session | None:
        """Gives the session a new token; None where another request was faster, or the session has ended."""
        if rotation.has_more:
            async with self._database.transaction() as connection:
                rotated = await self.rotate_in(connection, session, rotation, event)
            self._notices.ring()
            return rotated
        seen = None
        async with self._together() as connection:
            await connection.execute(LOCK_USER, [session.user_id])
            cursor = await connection.execute(ROTATE, rotation_values(session, rotation, event))
            if rotation.waiting_until is None and session.waiting_until is not None:
                await self._end_surplus(connection, session, rotation.new_digest, rotation.at)
            if rotation.seen_in is not None:
                at, digest = rotation.at, rotation.new_digest
                seen = await connection.execute(*self._browsers.statement(session, digest, rotation.seen_in, at))
        self._ring_for(seen)
        row = await cursor.fetchone()
        return session_from(row) if row else None

    async def rotate_in(
        self, connection: Connection, session: Session, rotation: Rotation, event: AuditEvent
    ) -> Session | None:
        """The same in the caller's transaction, with all that goes with it."""
        await connection.execute(LOCK_USER, [session.user_id])
        cursor = await connection.execute(ROTATE, rotation_values(session, rotation, event))
        row = await cursor.fetchone()
        if row is None:
            return None
        if rotation.waiting_until is None and session.waiting_until is not None:
            await self._end_surplus(connection, session, rotation.new_digest, rotation.at)
        if rotation.remembered is not None:
            await remember(connection, session, rotation.remembered, rotation.at)
        await self._notices.put(connection, rotation.notices)
        if rotation.proven_phone is not None:
            told = rotation.phone_changed
            await prove(connection, self._numbers, self._notices, session.user_id, rotation.proven_phone, told)
        if rotation.seen_in is not None:
            await self._browsers.see(connection, session, rotation.new_digest, rotation.seen_in, rotation.at)
        return session_from(row)

    async def became_active(self, session: Session, at: datetime, idle_minutes: int) -> None:
        """A waiting session need not wait any more (its clinic stopped asking): from now on it has idle time."""
        async with self._database.transaction() as connection:
            await connection.execute(LOCK_USER, [session.user_id])
            await connection.execute(
                "UPDATE session SET waiting_until = NULL, last_seen_at = %s, idle_minutes = %s"
                " WHERE id = %s AND ended_at IS NULL",
                [at, idle_minutes, session.id],
            )
            await self._end_surplus(connection, session, session.token_digest, at)

    async def seen(self, session_id: SessionId, at: datetime) -> None:
        """Renews the idle time."""
        async with self._database.connection() as connection:
            await connection.execute(SEEN, [at, session_id, at])

    async def reply_seen(self, session: Session) -> bool:
        """Its token has arrived: the reply that it came with is given to nobody again. False where it was, meanwhile,
        and this token is dead."""
        async with self._database.connection() as connection:
            return (await connection.execute(REPLY_SEEN, [session.id, session.token_digest])).rowcount == 1

    async def end(self, session_id: SessionId, user_id: UserId, at: datetime, event: AuditEvent) -> bool:
        """Ends one session of the user; False where it has ended or is not theirs."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE session SET ended_at = %(at)s, end_cause = 'ended'"  # noqa: S608
                f" WHERE id = %(id)s AND user_id = %(user_id)s AND {LIVE}",
                {"at": at, "id": session_id, "user_id": user_id},
            )
            if cursor.rowcount != 1:
                return False
            await audit.record(connection, event)
        return True

    async def end_all(self, user_id: UserId, at: datetime, event: AuditEvent) -> None:
        """Ends every session of the user, waiting ones too; `event` goes on record where there was one."""
        async with self._database.transaction() as connection:
            if await end_sessions(connection, user_id, at, EndCause.ENDED, keep=None):
                await audit.record(connection, event)

    async def of_user(self, user_id: UserId, at: datetime) -> list[Session]:
        """The user's sessions that have not ended, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {SESSION_COLUMNS} FROM session WHERE user_id = %(user_id)s AND {LIVE}"  # noqa: S608
                " AND (waiting_until IS NOT NULL OR last_seen_at > %(at)s - idle_minutes * interval '1 minute')"
                " ORDER BY authenticated_at DESC, id DESC LIMIT 200",
                {"user_id": user_id, "at": at},
            )
            return [session_from(row) for row in await cursor.fetchall()]

    async def has_proven_since(self, user_id: UserId, moment: datetime) -> bool:
        """Whether a second factor of the user was proven in any session since then."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT 1 FROM session WHERE user_id = %s AND verified_at >= %s LIMIT 1", [user_id, moment]
            )
            return await cursor.fetchone() is not None

    async def note(self, event: AuditEvent) -> None:
        """Puts on record what changed nothing."""
        async with self._database.connection() as connection:
            await audit.record(connection, event)

    async def purge(self, before: datetime) -> int:
        """Drops sessions whose end lies before; the digests that told why go with them."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < %s LIMIT 1000)", [before]
            )
            return cursor.rowcount

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[Connection]:
        """Statements sent in one go: a pipeline in which nothing is fetched is one implicit transaction with one round
        trip and one fsync, and every statement in it sees what was committed before it began."""
        async with self._database.connection() as connection, connection.pipeline():
            yield connection

    def _ring_for(self, seen: AsyncCursor[DictRow] | None) -> None:
        if seen is not None and seen.rowcount > 0:
            self._notices.ring()

    async def _end_surplus(self, connection: Connection, kept: Session, token_digest: bytes, at: datetime) -> None:
        """Ends the user's oldest active sessions beyond the limit, provided that `kept` has this token by now."""
        values = {"at": at, "user_id": kept.user_id, "id": kept.id, "token_digest": token_digest}
        await connection.execute(END_SURPLUS, {**values, "others": self._others})


async def end_sessions(
    connection: Connection, user_id: UserId, at: datetime, cause: EndCause, *, keep: SessionId | None
) -> int:
    """Ends the user's sessions, waiting ones too, but `keep`, and how many, in the caller's transaction."""
    cursor = await connection.execute(
        "UPDATE session SET ended_at = %s, end_cause = %s WHERE user_id = %s AND ended_at IS NULL"
        " AND id IS DISTINCT FROM %s",
        [at, cause, user_id, keep],
    )
    return cursor.rowcount


def _values(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in Session.__slots__}


PURGE_AFTER = timedelta(days=2)
"""How long an ended token can still be told why it does not work."""
