"""Everybody of a clinic at once, as a preview or a count needs them: without their numbers, which are sealed one by
one, and with the sessions that live."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.postgres import Database
from services.identity.model import ClinicId, Role, Session, UserId
from services.identity.store.session_rows import SESSION_COLUMNS, session_from

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Listed:
    """A person of the clinic; whether there is a number on file, not which."""

    id: UserId
    name: str
    email: str
    role: Role
    has_phone: bool
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Enabled:
    """The clinic's people who are not disabled, and how many of them have no number on file."""

    ids: list[UserId]
    without_phone: int


class RosterStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def people(self, clinic_id: ClinicId) -> list[Listed]:
        """In the order of arrival."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, name, email, role, phone IS NOT NULL AS has_phone, disabled_at IS NOT NULL AS is_disabled"
                " FROM app_user WHERE clinic_id = %s ORDER BY created_at, id",
                [clinic_id],
            )
            return [
                Listed(
                    UserId(row["id"]),
                    row["name"],
                    row["email"],
                    Role(row["role"]),
                    row["has_phone"],
                    row["is_disabled"],
                )
                for row in await cursor.fetchall()
            ]

    async def enabled(self, clinic_id: ClinicId) -> Enabled:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT coalesce(array_agg(id), '{}') AS ids, count(*) FILTER (WHERE phone IS NULL) AS without_phone"
                " FROM app_user WHERE clinic_id = %s AND disabled_at IS NULL",
                [clinic_id],
            )
            row = await cursor.fetchone()
        return Enabled([UserId(one) for one in row["ids"]], row["without_phone"]) if row else Enabled([], 0)

    async def names(self, clinic_id: ClinicId, ids: Sequence[str]) -> dict[str, str]:
        """The names of those of the clinic among `ids`."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, name FROM app_user WHERE clinic_id = %s AND id = ANY(%s)", [clinic_id, list(ids)]
            )
            return {row["id"]: row["name"] for row in await cursor.fetchall()}

    async def sessions(self, clinic_id: ClinicId, at: datetime) -> dict[UserId, list[Session]]:
        """The sessions that live, by whose they are."""
        found: dict[UserId, list[Session]] = defaultdict(list)
        after = ""
        while True:
            async with self._database.connection() as connection:
                cursor = await connection.execute(
                    f"SELECT {SESSION_COLUMNS} FROM session WHERE clinic_id = %(clinic_id)s AND id > %(after)s"  # noqa: S608
                    " AND ended_at IS NULL AND expires_at > %(at)s AND (waiting_until > %(at)s OR waiting_until IS NULL"
                    " AND last_seen_at > %(at)s - idle_minutes * interval '1 minute') ORDER BY id LIMIT %(limit)s",
                    {"clinic_id": clinic_id, "after": after, "at": at, "limit": _BATCH},
                )
                rows = await cursor.fetchall()
            for row in rows:
                session = session_from(row)
                found[session.user_id].append(session)
            if len(rows) < _BATCH:
                return found
            after = rows[-1]["id"]
