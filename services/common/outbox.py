"""What a service has done and identity has still to follow up: rows written in the transaction of the change, and kept
until they are settled. A reply may be lost, and whoever waited for it may be gone; these rows are neither (a
transactional outbox). They hold ids and facts, never a code, a token or a number.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from services.common.postgres import Connection, Database

MOST_EVENTS = 200
"""Listed or settled at once."""

_PUT = (
    "INSERT INTO outbox (id, at, kind, clinic_id, user_id, session_id, address, detail)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_PENDING = (
    "SELECT id, seq, at, kind, clinic_id, user_id, session_id, address, detail FROM outbox"
    " WHERE seq > %(after)s AND (%(user_id)s = '' OR user_id = %(user_id)s) ORDER BY seq LIMIT %(limit)s"
)


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """What was done, to whose account, in which session and where from. `id` and `seq` are given when it is written."""

    kind: str
    at: datetime
    clinic_id: str
    user_id: str
    session_id: str | None = None
    address: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    seq: int = 0


async def put(connection: Connection, event: OutboxEvent) -> None:
    """Adds the event to the transaction that `connection` is in."""
    whose = [event.clinic_id, event.user_id, event.session_id, event.address]
    values = [f"out_{uuid.uuid4().hex}", event.at, event.kind, *whose, Jsonb(dict(event.detail))]
    await connection.execute(_PUT, values)


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def pending(self, user_id: str, after: int, limit: int) -> list[OutboxEvent]:
        """What is not settled, oldest first; of everybody where `user_id` is empty."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_PENDING, {"user_id": user_id, "after": after, "limit": limit})
            return [OutboxEvent(**row) for row in await cursor.fetchall()]

    async def settle(self, ids: Sequence[str]) -> None:
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", [list(ids)])
