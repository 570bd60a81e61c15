"""Enrolments: at most one open for each kind of a user, which an index guards. Changed under the account's lock."""

from datetime import datetime

from psycopg.types.json import Jsonb

from services.common.postgres import Connection, Database
from services.otp.clock_coach import ClockMemory
from services.otp.model import Enrolment, EnrolmentId, EnrolmentKind, LoginId, SessionId, UserId
from services.otp.store import rows

_SELECT = f"SELECT {rows.ENROLMENT_COLUMNS} FROM enrolment"  # noqa: S608
_BY_ID = f"{_SELECT} WHERE user_id = %s AND id = %s"
_NEWEST = f"{_SELECT} WHERE user_id = %s AND kind = %s AND session_id = %s ORDER BY seq DESC LIMIT 1"
_BY_REQUEST = f"{_SELECT} WHERE user_id = %s AND request_id = %s"


class HeldEnrolments:
    """The enrolments of an account that is held."""

    def __init__(self, connection: Connection, user_id: UserId) -> None:
        self._connection = connection
        self._user_id = user_id

    async def get(self, enrolment_id: EnrolmentId) -> Enrolment | None:
        return await _one(self._connection, _BY_ID, [self._user_id, enrolment_id])

    async def newest(self, kind: EnrolmentKind, session_id: SessionId) -> Enrolment | None:
        return await _one(self._connection, _NEWEST, [self._user_id, kind.value, session_id])

    async def begin(self, enrolment: Enrolment) -> None:
        """The user's open enrolment of its kind; the earlier one is dead."""
        await self.end_open(enrolment.kind, enrolment.created_at)
        await self._connection.execute(
            "INSERT INTO enrolment (id, user_id, session_id, request_id, kind, secret, phone_hint, created_at,"
            " expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                enrolment.id,
                self._user_id,
                enrolment.session_id,
                enrolment.request_id,
                enrolment.kind.value,
                enrolment.secret,
                enrolment.phone_hint,
                enrolment.created_at,
                enrolment.expires_at,
            ],
        )

    async def end_open(self, kind: EnrolmentKind, now: datetime) -> None:
        """Ends what is open of the kind, and the code on its way for it."""
        await self._end_open("kind = %s", kind.value, now)

    async def end_others_open(self, session_id: SessionId, now: datetime) -> None:
        """The same for whatever another session is setting up or proving."""
        await self._end_open("session_id <> %s", session_id, now)

    async def end_all_open(self, now: datetime) -> None:
        """Ends whatever is being set up or proven, with the codes on their way for it."""
        for kind in EnrolmentKind:
            await self.end_open(kind, now)

    async def _end_open(self, condition: str, value: str, now: datetime) -> None:
        await self._connection.execute(
            "WITH gone AS (UPDATE enrolment SET ended_at = %s, secret = NULL"  # noqa: S608
            f" WHERE user_id = %s AND {condition} AND ended_at IS NULL AND confirmed_at IS NULL RETURNING id)"
            " UPDATE challenge SET ended_at = %s, code_sealed = NULL"
            " WHERE user_id = %s AND login_id IN (SELECT id FROM gone) AND ended_at IS NULL",
            [now, self._user_id, value, now, self._user_id],
        )

    async def remember_clock(self, enrolment_id: EnrolmentId, memory: ClockMemory) -> None:
        await self._connection.execute(
            "UPDATE enrolment SET totp_clock = %s WHERE user_id = %s AND id = %s",
            [Jsonb(rows.clock(memory)), self._user_id, enrolment_id],
        )

    async def confirm(
        self,
        enrolment_id: EnrolmentId,
        login_id: LoginId,
        mark: bytes,
        now: datetime,
        *,
        has_made_backup_codes: bool,
        keeps_secret: bool = False,
    ) -> None:
        """In force. `keeps_secret`: a repeated confirmation must still be able to name the proven number."""
        await self._connection.execute(
            "UPDATE enrolment SET confirmed_at = %s, confirmed_login_id = %s, confirmed_mark = %s,"
            " has_made_backup_codes = %s, secret = CASE WHEN %s THEN secret END WHERE user_id = %s AND id = %s",
            [now, login_id, mark, has_made_backup_codes, keeps_secret, self._user_id, enrolment_id],
        )


class Enrolments:
    """Enrolments read outside a lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UserId, enrolment_id: EnrolmentId) -> Enrolment | None:
        async with self._database.connection() as connection:
            return await _one(connection, _BY_ID, [user_id, enrolment_id])

    async def newest(self, user_id: UserId, kind: EnrolmentKind, session_id: SessionId) -> Enrolment | None:
        async with self._database.connection() as connection:
            return await _one(connection, _NEWEST, [user_id, kind.value, session_id])

    async def of_request(self, user_id: UserId, request_id: str) -> Enrolment | None:
        async with self._database.connection() as connection:
            return await _one(connection, _BY_REQUEST, [user_id, request_id])


async def _one(connection: Connection, query: str, values: list[object]) -> Enrolment | None:
    cursor = await connection.execute(query, values)
    row = await cursor.fetchone()
    return rows.enrolment(row) if row else None
