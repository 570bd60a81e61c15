"""Remembered browsers as rows. Tokens come in as SHA-256 digests only, and each use replaces them.

A replaced token works for a minute more, so that a lost answer or two tabs cost nobody a code; after that its use means
that somebody copied it, and the remembering of that browser ends. Whatever ends a remembering, the sessions that it
opened lose it in the same transaction. Using, remembering and ending hold the user's row, so none misses another.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from psycopg.rows import DictRow

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Connection, Database
from services.identity.model import Client, ClinicId, Device, DeviceId, Session, UserId

GRACE = timedelta(seconds=60)
BY_RULE = "clinic_rule"
"""Why a browser was forgotten that the clinic's days, or the strictest hold, allow no more."""
MOST_DEVICES = 20
"""Of one user; the one unused for longest makes room."""
LONGEST = timedelta(days=90)
"""No clinic may remember for longer."""

_COLUMNS = "id, user_id, remembered_at, last_used_at, address, user_agent"
_LOCK_USER = "SELECT 1 FROM app_user WHERE id = %s FOR UPDATE"
_BY_TOKEN = (
    f"SELECT {_COLUMNS}, replaced_at FROM ("  # noqa: S608
    "SELECT device.*, NULL::timestamptz AS replaced_at FROM device WHERE token_digest = %(digest)s"
    " UNION ALL SELECT device.*, replaced.replaced_at FROM replaced_device_token AS replaced"
    " JOIN device ON device.id = replaced.device_id WHERE replaced.digest = %(digest)s"
    ") AS known WHERE user_id = %(user_id)s AND ended_at IS NULL"
)
_REPLACE = (
    "WITH before AS (SELECT id, token_digest FROM device WHERE id = %(id)s),"
    " gone AS (INSERT INTO replaced_device_token (digest, device_id, replaced_at)"
    " SELECT token_digest, id, %(at)s FROM before)"
    " UPDATE device SET token_digest = %(new)s, last_used_at = %(at)s, address = %(address)s,"
    " user_agent = %(user_agent)s FROM before WHERE device.id = before.id"
)
# In an order, since whoever ends those of two clinics at once holds many.
_LOCK_OWNERS = (
    "SELECT 1 FROM app_user WHERE id IN (SELECT user_id FROM device WHERE clinic_id = %(clinic_id)s"
    " AND ended_at IS NULL AND remembered_at <= %(since)s) ORDER BY id FOR UPDATE"
)
_END_BEYOND = (
    "WITH ended AS (UPDATE device SET ended_at = %(at)s, end_cause = %(cause)s WHERE clinic_id = %(clinic_id)s"
    " AND ended_at IS NULL AND remembered_at <= %(since)s RETURNING id),"
    " shown AS (UPDATE session SET remembered_at = NULL FROM ended WHERE device_id = ended.id)"
    " SELECT count(*) AS ended FROM ended"
)
_END = "UPDATE device SET ended_at = %(at)s, end_cause = %(cause)s WHERE ended_at IS NULL AND user_id = %(user_id)s"


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A browser that is to be remembered."""

    id: DeviceId
    token_digest: bytes
    client: Client


class DeviceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(
        self,
        user_id: UserId,
        digest: bytes,
        new_digest: bytes,
        since: datetime,
        at: datetime,
        client: Client,
        reused: AuditEvent,
        beyond: AuditEvent,
    ) -> Device | None:
        """The user's browser with this token, remembered after `since`, which from now on has the new one. None for a
        token that is none of theirs, or of a browser no longer remembered; `reused` goes on record where this is what
        ended it, and `beyond`, where it was remembered before `since`."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [user_id])
            cursor = await connection.execute(_BY_TOKEN, {"digest": digest, "user_id": user_id})
            row = await cursor.fetchone()
            if row is None:
                return None
            device = _device_from(row)
            if row["replaced_at"] is not None and at - row["replaced_at"] > GRACE:
                await end_devices(connection, user_id, at, "reused", device_id=device.id)
                await audit.record(connection, reused)
                return None
            if device.remembered_at <= since:
                await end_devices(connection, user_id, at, BY_RULE, device_id=device.id)
                await audit.record(connection, replace(beyond, detail={**beyond.detail, "device_id": device.id}))
                return None
            await connection.execute(
                _REPLACE,
                {
                    "id": device.id,
                    "at": at,
                    "new": new_digest,
                    "address": client.address,
                    "user_agent": client.user_agent[:200],
                },
            )
            return device

    async def of_user(self, user_id: UserId, remembered_after: datetime) -> list[Device]:
        """The user's browsers remembered since then, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_COLUMNS} FROM device WHERE user_id = %s AND ended_at IS NULL"  # noqa: S608
                " AND remembered_at > %s ORDER BY last_used_at DESC, id DESC",
                [user_id, remembered_after],
            )
            return [_device_from(row) for row in await cursor.fetchall()]

    async def end(self, user_id: UserId, device_id: DeviceId, event: AuditEvent, cause: str) -> bool:
        """Forgets one browser of the user; False where it is none of theirs, or forgotten."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [user_id])
            if not await end_devices(connection, user_id, event.at, cause, device_id=device_id):
                return False
            await audit.record(connection, event)
        return True

    async def end_all(self, user_id: UserId, event: AuditEvent, cause: str) -> None:
        """Forgets every browser of the user; `event` goes on record where there was one."""
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_USER, [user_id])
            if await end_devices(connection, user_id, event.at, cause):
                await audit.record(connection, event)

    async def end_beyond(self, clinic_id: ClinicId, since: datetime, event: AuditEvent) -> int:
        """Forgets every browser of the clinic that was not remembered after `since`, and says how many on record."""
        values = {"clinic_id": clinic_id, "since": since, "at": event.at, "cause": BY_RULE}
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK_OWNERS, values)
            row = await (await connection.execute(_END_BEYOND, values)).fetchone()
            ended: int = row["ended"] if row else 0
            if ended:
                await audit.record(connection, replace(event, detail={**event.detail, "count": ended}))
        return ended

    async def purge(self, now: datetime) -> int:
        """Drops browsers that no clinic can be remembering any more."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM device WHERE id IN (SELECT id FROM device WHERE remembered_at < %s LIMIT 1000)",
                [now - LONGEST - timedelta(days=1)],
            )
            return cursor.rowcount


async def remember(connection: Connection, session: Session, new: NewDevice, at: datetime) -> None:
    """Adds a browser, in the caller's transaction, which holds the user's row."""
    if session.device_id is not None:
        await end_devices(connection, session.user_id, at, "remembered_anew", device_id=session.device_id)
    await connection.execute(
        "INSERT INTO device (id, user_id, clinic_id, token_digest, remembered_at, last_used_at, address, user_agent)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            new.id,
            session.user_id,
            session.clinic_id,
            new.token_digest,
            at,
            at,
            new.client.address,
            new.client.user_agent[:200],
        ],
    )
    await connection.execute(
        f"{_END} AND id IN (SELECT id FROM device WHERE user_id = %(user_id)s AND ended_at IS NULL"  # noqa: S608
        " ORDER BY last_used_at DESC, id DESC OFFSET %(most)s)",
        {"user_id": session.user_id, "at": at, "cause": "too_many", "most": MOST_DEVICES},
    )


async def end_devices(
    connection: Connection, user_id: UserId, at: datetime, cause: str, *, device_id: DeviceId | None = None
) -> int:
    """Ends the remembering of one browser or of all, and how many, in the caller's transaction, which holds the user's
    row. Sessions that it opened have proven nothing any more."""
    values = {"at": at, "cause": cause, "user_id": user_id, "id": device_id}
    cursor = await connection.execute(f"{_END} AND (%(id)s::text IS NULL OR id = %(id)s)", values)
    await connection.execute(
        "UPDATE session SET remembered_at = NULL WHERE user_id = %(user_id)s AND remembered_at IS NOT NULL"
        " AND (%(id)s::text IS NULL OR device_id = %(id)s)",
        values,
    )
    return cursor.rowcount


def _device_from(row: DictRow) -> Device:
    return Device(
        id=DeviceId(row["id"]),
        user_id=UserId(row["user_id"]),
        remembered_at=row["remembered_at"],
        last_used_at=row["last_used_at"],
        address=row["address"],
        user_agent=row["user_agent"],
    )
