"""Sessions as rows. Tokens come in as SHA-256 digests only.

A token is rotated by one guarded UPDATE on the digest it replaces, so of parallel requests with one token exactly one
wins (P14). Opening and rotating lock the user's row first: a disabled user or a changed password lets no session
through, and the ten-session limit cannot be overrun by a race (A66).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Connection, Database
from services.identity.model import (
    EndCause,
    Method,
    Session,
    SessionId,
    SignedIn,
    UserId,
)
from services.identity.store.devices import NewDevice, end_devices, remember
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.session_rows import BY_DIGEST, SESSION_COLUMNS, session_from, signed_in_from

_LOCK_USER = "SELECT 1 FROM app_user WHERE id = %s FOR UPDATE"
# One statement: the user as they were looked up, the session, the event; without the first there is none of the rest.
_OPEN = (
    "WITH owner AS (SELECT id FROM app_user WHERE id = %(user_id)s AND disabled_at IS NULL"  # noqa: S608
    " AND password_hash = %(password_hash)s FOR UPDATE),"
    f" opened AS (INSERT INTO session ({SESSION_COLUMNS})"
    " SELECT %(id)s, owner.id, %(clinic_id)s, %(token_digest)s, %(generation)s, %(opened_by)s, %(authenticated_at)s,"
    " NULL, NULL, %(enrol_after_proof)s, %(waiting_until)s::timestamptz, %(last_seen_at)s, %(idle_minutes)s,"
    " %(expires_at)s, %(shared_device)s, %(address)s, %(user_agent)s, NULL, NULL, %(bypass_id)s, %(device_id)s,"
    # Not what was read before the user's row was held: the remembering may have ended since.
    " (SELECT remembered_at FROM device WHERE id = %(device_id)s AND user_id = owner.id AND ended_at IS NULL), false"
    " FROM owner RETURNING id, bypass_id, user_id, authenticated_at),"
    " bypassed AS (INSERT INTO bypass_use (bypass_id, user_id, session_id, used_at)"
    " SELECT bypass_id, user_id, id, authenticated_at FROM opened WHERE bypass_id IS NOT NULL) "
    + audit.insert_from("opened")
)
_ROTATE = (
    "WITH rotated AS (UPDATE session SET token_digest = %(new)s, generation = generation + 1,"  # noqa: S608
    " verified_at = coalesce(%(verified_at)s, verified_at), proven_by = coalesce(%(proven_by)s, proven_by),"
    " enrol_after_proof = %(enrol_after_proof)s, waiting_until = %(waiting_until)s, last_seen_at = %(at)s,"
    " idle_minutes = coalesce(%(idle_minutes)s, idle_minutes)"
    " WHERE id = %(id)s AND token_digest = %(old)s AND ended_at IS NULL"
    f" RETURNING {SESSION_COLUMNS}),"
    " gone AS (INSERT INTO replaced_token (digest, session_id, cause, replaced_at)"
    " SELECT %(old)s, id, %(cause)s, %(at)s FROM rotated),"
    f" noted AS ({audit.insert_from('rotated')})"
    f" SELECT {SESSION_COLUMNS} FROM rotated"
)
# Idle time is told to the second; losing the last second of it in a crash costs nobody anything, so no fsync.
_SEEN = (
    "UPDATE session SET last_seen_at = %s FROM (SELECT set_config('synchronous_commit', 'off', true)) AS lazily"
    " WHERE id = %s AND last_seen_at < %s AND ended_at IS NULL"
)
_LIVE = "ended_at IS NULL AND expires_at > %(at)s AND (waiting_until IS NULL OR waiting_until > %(at)s)"
_ACTIVE = (
    "ended_at IS NULL AND expires_at > %(at)s AND waiting_until IS NULL"
    " AND last_seen_at > %(at)s - idle_minutes * interval '1 minute'"
)
_END_SURPLUS = (
    "UPDATE session SET ended_at = %(at)s, end_cause = 'too_many' WHERE id IN ("  # noqa: S608
    f"SELECT id FROM session WHERE user_id = %(user_id)s AND id <> %(id)s AND {_ACTIVE}"
    " ORDER BY authenticated_at DESC, id DESC OFFSET %(others)s)"
    " AND EXISTS (SELECT 1 FROM session WHERE id = %(id)s AND token_digest = %(token_digest)s)"
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a new token comes with. None leaves what the session has."""

    old_digest: bytes
    new_digest: bytes
    at: datetime
    cause: EndCause = EndCause.REPLACED
    proven_by: Method | None = None
    enrol_after_proof: bool = False
    waiting_until: datetime | None = None
    idle_minutes: int | None = None
    end_others: EndCause | None = None
    """End the user's other sessions, waiting ones too, with this cause."""
    end_devices: str | None = None
    """Forget the user's remembered browsers, with this cause."""
    remembered: NewDevice | None = None
    """The browser in which this is proven, to be remembered in place of the one that opened the session."""
    proven_phone: str | None = None
    """A number that was proven in the same breath."""
    has_enrolled: bool = False
    """A second factor was set up by it."""

    @property
    def has_more(self) -> bool:
        """Whether more goes with it than one statement does."""
        more = (self.end_others, self.end_devices, self.remembered, self.proven_phone)
        return self.has_enrolled or any(one is not None for one in more)


class SessionStore:
    def __init__(self, database: Database, numbers: PhoneNumbers, most_active: int = 10) -> None:
        self._database = database
        self._numbers = numbers
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

    async def open(self, session: Session, password_hash: str, event: AuditEvent) -> bool:
        """Adds a session. False where the user was disabled, or their password changed, since they were looked up."""
        values = {**_values(session), "password_hash": password_hash, **audit.named(event)}
        if session.waiting_until is not None:
            async with self._database.connection() as connection:
                return (await connection.execute(_OPEN, values)).rowcount == 1
        async with self._together() as connection:
            await connection.execute(_LOCK_USER, [session.user_id])
            cursor = await connection.execute(_OPEN, values)
            await self._end_surplus(connection, session, session.token_digest, session.authenticated_at)
        return cursor.rowcount == 1

    async def rotate(self, session: Session, rotation: Rotation, event: AuditEvent) -> Session | None:
        """Gives the session a new token; None where another request was faster, or the session has ended."""
        if rotation.has_more:
            async with self._database.transaction() as connection:
                return await self.rotate_in(connection, session, rotation, event)
        async with self._together() as connection:
            await connection.execute(_LOCK_USER, [session.user_id])
            cursor = await connection.execute(_ROTATE, _rotation_values(session, rotation, event))
            if rotation.waiting_until is None and session.waiting_until is not None:
                await self._end_surplus(connection, session, rotation.new_digest, rotation.at)
        row = await cursor.fetchone()
        return session_from(row) if row else None

    async def rotate_in(
        self, connection: Connection, session: Session, rotation: Rotation, event: AuditEvent
    ) -> Session | None:
        """The same in the caller's transaction, with all that goes with it."""
        await connection.execute(_LOCK_USER, [session.user_id])
        cursor = await connection.execute(_ROTATE, _rotation_values(session, rotation, event))
        row = await cursor.fetchone()
        if row is None:
            return None
        if rotation.end_others is not None:
            await end_sessions(connection, session.user_id, rotation.at, rotation.end_others, keep=session.id)
        elif rotation.waiting_until is None and session.waiting_until is not None:
            await self._end_surplus(connection, session, rotation.new_digest, rotation.at)
        if rotation.end_devices is not None:
            await end_devices(connection, session.user_id, rotation.at, rotation.end_devices)
        if rotation.remembered is not None:
            await remember(connection, session, rotation.remembered, rotation.at)
        if session.bypass_id is not None and rotation.has_enrolled:
            await connection.execute(
                "UPDATE bypass_use SET enrolled_at = %s WHERE bypass_id = %s", [rotation.at, session.bypass_id]
            )
        if rotation.proven_phone is not None:
            await connection.execute(
                "UPDATE app_user SET phone = %s, phone_proven = true WHERE id = %s",
                [self._numbers.seal(session.user_id, rotation.proven_phone), session.user_id],
            )
        return session_from(row)

    async def became_active(self, session: Session, at: datetime, idle_minutes: int) -> None:
        """A waiting session need not wait any more (its clinic stopped asking): from now on it has idle time."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [session.user_id])
            await connection.execute(
                "UPDATE session SET waiting_until = NULL, last_seen_at = %s, idle_minutes = %s"
                " WHERE id = %s AND ended_at IS NULL",
                [at, idle_minutes, session.id],
            )
            await self._end_surplus(connection, session, session.token_digest, at)

    async def seen(self, session_id: SessionId, at: datetime) -> None:
        """Renews the idle time."""
        async with self._database.connection() as connection:
            await connection.execute(_SEEN, [at, session_id, at])

    async def end(self, session_id: SessionId, user_id: UserId, at: datetime, event: AuditEvent) -> bool:
        """Ends one session of the user; False where it has ended or is not theirs."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE session SET ended_at = %(at)s, end_cause = 'ended'"  # noqa: S608
                f" WHERE id = %(id)s AND user_id = %(user_id)s AND {_LIVE}",
                {"at": at, "id": session_id, "user_id": user_id},
            )
            if cursor.rowcount != 1:
                return False
            await audit.record(connection, event)
        return True

    async def end_all(self, user_id: UserId, at: datetime, event: AuditEvent) -> None:
        """Ends every session of the user, waiting ones too."""
        async with self._database.transaction() as connection:
            await end_sessions(connection, user_id, at, EndCause.ENDED, keep=None)
            await audit.record(connection, event)

    async def of_user(self, user_id: UserId, at: datetime) -> list[Session]:
        """The user's sessions that have not ended, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {SESSION_COLUMNS} FROM session WHERE user_id = %(user_id)s AND {_LIVE}"  # noqa: S608
                " AND (waiting_until IS NOT NULL OR last_seen_at > %(at)s - idle_minutes * interval '1 minute')"
                " ORDER BY authenticated_at DESC, id DESC LIMIT 200",
                {"user_id": user_id, "at": at},
            )
            return [session_from(row) for row in await cursor.fetchall()]

    async def forget_proof(self, connection: Connection, session_id: SessionId) -> None:
        """The factor that the session proved is no more; neither is its proof."""
        await connection.execute("UPDATE session SET verified_at = NULL, proven_by = NULL WHERE id = %s", [session_id])

    async def factor_removed(self, session: Session, at: datetime, *, was_last: bool, event: AuditEvent) -> None:
        """Ends the user's other sessions and remembered browsers; with the last factor, this session's proof goes
        too."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [session.user_id])
            await end_devices(connection, session.user_id, at, "factor_changed")
            await end_sessions(connection, session.user_id, at, EndCause.ENDED, keep=session.id)
            if was_last:
                await self.forget_proof(connection, session.id)
            await audit.record(connection, event)

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

    async def _end_surplus(self, connection: Connection, kept: Session, token_digest: bytes, at: datetime) -> None:
        """Ends the user's oldest active sessions beyond the limit, provided that `kept` has this token by now."""
        values = {"at": at, "user_id": kept.user_id, "id": kept.id, "token_digest": token_digest}
        await connection.execute(_END_SURPLUS, {**values, "others": self._others})


async def end_sessions(
    connection: Connection, user_id: UserId, at: datetime, cause: EndCause, *, keep: SessionId | None
) -> None:
    """Ends the user's sessions, waiting ones too, but `keep`, in the caller's transaction."""
    await connection.execute(
        "UPDATE session SET ended_at = %s, end_cause = %s WHERE user_id = %s AND ended_at IS NULL"
        " AND id IS DISTINCT FROM %s",
        [at, cause, user_id, keep],
    )


def _rotation_values(session: Session, rotation: Rotation, event: AuditEvent) -> dict[str, Any]:
    return {
        "id": session.id,
        "old": rotation.old_digest,
        "new": rotation.new_digest,
        "cause": rotation.cause,
        "at": rotation.at,
        "verified_at": rotation.at if rotation.proven_by else None,
        "proven_by": rotation.proven_by,
        "enrol_after_proof": rotation.enrol_after_proof,
        "waiting_until": rotation.waiting_until,
        "idle_minutes": rotation.idle_minutes,
        **audit.named(event),
    }


def _values(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in Session.__slots__}


PURGE_AFTER = timedelta(days=2)
"""How long an ended token can still be told why it does not work."""
