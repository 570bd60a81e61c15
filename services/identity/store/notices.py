"""Notices as rows: written in the transaction of what they tell of, claimed by whoever tells them, shown, dropped.

The number to text is copied, sealed as it is, from the row of whoever is told, in the same statement: what was on file
at that moment is told, whatever becomes of it. `ring` is for after the commit; a teller of another replica finds what
no bell has rung for.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from services.common.postgres import Connection, Database
from services.identity.model import ClinicId, UserId
from services.identity.notice_words import DueNotice, KeptNotice, Notice, NoticeKind, Number, Whom

MOST_SHOWN = 100
_DAY = timedelta(days=1)

_ADMINISTRATORS = (
    "u.clinic_id = %(clinic_id)s AND u.role = 'admin' AND u.disabled_at IS NULL AND u.password_hash IS NOT NULL"
)
_WHO = {
    Whom.OWNER: "u.id = %(user_id)s",
    Whom.GRANTER: (
        "u.disabled_at IS NULL AND u.id = (SELECT granted_by FROM bypass_use WHERE bypass_id = %(bypass_id)s)"
    ),
    Whom.ADMINISTRATORS: _ADMINISTRATORS,
    Whom.OTHER_ADMINISTRATORS: f"{_ADMINISTRATORS} AND u.id <> %(user_id)s",
}
_PHONE = {
    Number.PROVEN: "CASE WHEN u.phone_proven THEN u.phone END",
    Number.ON_FILE: "u.phone",
    Number.AS_IT_WAS: "u.phone",
    Number.BEFORE_BYPASS: "(SELECT phone FROM bypass_use WHERE bypass_id = %(bypass_id)s)",
}
_BRAKE = (
    "(%(most_a_day)s::integer IS NULL OR (%(as_it_was)s AND u.phone_proven) OR (SELECT count(*) FROM notice"
    " WHERE user_id = u.id AND kind = %(kind)s AND is_sent AND at > %(day_ago)s) < %(most_a_day)s::integer)"
)
_LATELY = (
    "EXISTS (SELECT 1 FROM notice WHERE user_id = u.id AND kind = %(kind)s AND at > %(once_since)s"
    " AND detail ->> 'user_id' IS NOT DISTINCT FROM %(about)s)"
)
_DUE = (
    "WITH due AS (SELECT id FROM notice WHERE next_tell_at <= %(at)s ORDER BY next_tell_at LIMIT %(most)s"
    " FOR UPDATE SKIP LOCKED),"
    " claimed AS (UPDATE notice SET tries = tries + 1,"
    " next_tell_at = %(at)s + least(%(first)s * (2 ^ least(tries, 16)), %(longest)s)"
    " FROM due WHERE notice.id = due.id RETURNING notice.*)"
    " SELECT n.id, n.kind, n.at, n.clinic_id, n.user_id, n.detail, n.phone, n.email, c.timezone,"
    " coalesce(u.locale, c.locale) AS locale"
    " FROM claimed n JOIN app_user u ON u.id = n.user_id JOIN clinic c ON c.id = n.clinic_id"
)


class NoticeStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._bell = asyncio.Event()

    async def put(self, connection: Connection, notices: Iterable[Notice]) -> int:
        """Writes them in the caller's transaction; answers how many rows that made."""
        written = 0
        for notice in notices:
            cursor = await connection.execute(insertion(notice), values_of(notice))
            written += cursor.rowcount
        return written

    async def add(self, notices: Iterable[Notice]) -> None:
        """Writes what tells of a change that another service has made."""
        async with self._database.transaction() as connection:
            await self.put(connection, notices)
        self.ring()

    def ring(self) -> None:
        """There is something to tell, and it is committed."""
        self._bell.set()

    async def wait(self, seconds: float) -> None:
        """Until the bell rings, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return
        self._bell.clear()

    async def claim(self, at: datetime, most: int, first: timedelta, longest: timedelta) -> list[DueNotice]:
        """What is due, each claimed for a while: `first`, and twice as long with every try. Whoever dies over one
        leaves it to be claimed again."""
        async with self._database.connection() as connection:
            values = {"at": at, "most": most, "first": first, "longest": longest}
            cursor = await connection.execute(_DUE, values)
            return [_due_from(row) for row in await cursor.fetchall()]

    async def settle(self, notice_id: str, told_at: datetime | None) -> None:
        """It was told, or is not to be told any more: the contact data goes."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE notice SET told_at = %s, phone = NULL, email = NULL, next_tell_at = NULL WHERE id = %s",
                [told_at, notice_id],
            )

    async def shown_to(self, user_id: UserId) -> list[KeptNotice]:
        """What the user has not dismissed, newest first."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT n.id, n.kind, n.at, n.detail, whose.name AS whose, by.name AS by FROM notice n"
                " LEFT JOIN app_user whose ON whose.id = n.detail ->> 'user_id' AND whose.clinic_id = n.clinic_id"
                " LEFT JOIN app_user by ON by.id = n.detail ->> 'by' AND by.clinic_id = n.clinic_id"
                " WHERE n.user_id = %s AND n.dismissed_at IS NULL AND n.is_shown"
                " ORDER BY n.at DESC, n.seq DESC LIMIT %s",
                [user_id, MOST_SHOWN],
            )
            return [_kept_from(row) for row in await cursor.fetchall()]

    async def dismiss(self, user_id: UserId, notice_id: str, at: datetime) -> bool:
        """False where it is none of theirs, or dismissed."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "UPDATE notice SET dismissed_at = %s"
                " WHERE id = %s AND user_id = %s AND is_shown AND dismissed_at IS NULL",
                [at, notice_id, user_id],
            )
            return cursor.rowcount == 1

    async def purge(self, before: datetime) -> int:
        """Drops what happened before then."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM notice WHERE id IN (SELECT id FROM notice WHERE at < %s LIMIT 1000)", [before]
            )
            return cursor.rowcount


def insertion(notice: Notice, condition: str = "true") -> str:
    """The statement that writes it for everybody who is told, where `condition`, which is ours, holds. Its values are
    `values_of`."""
    there_was_one = " AND u.phone IS NOT NULL" if notice.number is Number.AS_IT_WAS else ""
    not_lately = f" AND NOT {_LATELY}" if notice.once_in is not None else ""
    return (
        "INSERT INTO notice (id, clinic_id, user_id, kind, at, detail, is_shown, is_sent, phone, email, next_tell_at)"  # noqa: S608
        " SELECT 'ntc_' || replace(gen_random_uuid()::text, '-', ''), clinic_id, id, %(kind)s, %(at)s, %(detail)s,"
        " %(is_shown)s, num_nonnulls(phone, email) > 0, phone, email,"
        " CASE WHEN num_nonnulls(phone, email) > 0 THEN %(at)s::timestamptz END"
        f" FROM (SELECT u.id, u.clinic_id, CASE WHEN {_BRAKE} THEN {_PHONE[notice.number]} END AS phone,"
        f" CASE WHEN %(is_shown)s AND {_BRAKE} THEN u.email END AS email"
        f" FROM app_user u WHERE {_WHO[notice.whom]}{there_was_one}{not_lately} AND {condition}) AS told"
    )


def values_of(notice: Notice) -> dict[str, Any]:
    return {
        "kind": notice.kind,
        "at": notice.at,
        "clinic_id": notice.clinic_id,
        "user_id": notice.user_id,
        "detail": Jsonb(dict(notice.detail)),
        "is_shown": notice.is_shown,
        "bypass_id": notice.detail.get("bypass_id"),
        "as_it_was": notice.number is Number.AS_IT_WAS,
        "most_a_day": notice.most_a_day,
        "day_ago": notice.at - _DAY,
        "once_since": notice.at - (notice.once_in or timedelta(0)),
        "about": notice.detail.get("user_id"),
    }


def _due_from(row: DictRow) -> DueNotice:
    return DueNotice(
        id=row["id"],
        kind=NoticeKind(row["kind"]),
        at=row["at"],
        clinic_id=ClinicId(row["clinic_id"]),
        user_id=UserId(row["user_id"]),
        detail=row["detail"],
        phone=row["phone"],
        email=row["email"],
        locale=row["locale"],
        timezone=row["timezone"],
    )


def _kept_from(row: DictRow) -> KeptNotice:
    return KeptNotice(row["id"], NoticeKind(row["kind"]), row["at"], row["detail"], row["whose"], row["by"])
