"""Reads a service's own audit trail, page by page. A clinic's events only, ever: who asks for none named gets none."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.common.postgres import Database

MOST_EVENTS = 500
"""In a page."""


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """An event as it is stored."""

    id: str
    seq: int
    at: datetime
    clinic_id: str
    actor_kind: str
    actor_id: str | None
    subject_id: str | None
    kind: str
    address: str | None
    request_id: str | None
    detail: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class TrailPosition:
    """A place in a trail, whose order is by time, and by number within equal times."""

    at: datetime
    seq: int
    is_inclusive: bool = False


class AuditTrail:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, clinic_id: str, limit: int, before: TrailPosition | None = None, user_id: str = "", kind: str = ""
    ) -> list[TrailEvent]:
        """Up to `limit` events of the clinic, newest first. `user_id`: where they acted or were the subject."""
        conditions = ["clinic_id = %(clinic_id)s"]
        values: dict[str, Any] = {"clinic_id": clinic_id, "user_id": user_id, "kind": kind, "limit": limit}
        if before:
            conditions.append(f"(at, seq) {'<=' if before.is_inclusive else '<'} (%(at)s, %(seq)s)")
            values |= {"at": before.at, "seq": before.seq}
        if user_id:
            conditions.append("(subject_id = %(user_id)s OR actor_id = %(user_id)s)")
        if kind:
            conditions.append("kind = %(kind)s")
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT id::text AS id, seq, at, clinic_id, actor_kind, actor_id, subject_id, kind, address,"  # noqa: S608
                f" request_id, detail::text AS detail FROM audit_event WHERE {' AND '.join(conditions)}"
                " ORDER BY at DESC, seq DESC LIMIT %(limit)s",
                values,
            )
            return [TrailEvent(**row) for row in await cursor.fetchall()]
