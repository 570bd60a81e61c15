"""What the relay asks of the `delivery` table: what is due, too late or lost; and the signal that wakes it.

Times are given by the caller; nothing here asks the server for its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import psycopg

from services.common.postgres import Connection, Database, conninfo
from services.notifier import spending_rows
from services.notifier.model import DeliveryId, State
from services.notifier.rows import COLUMNS, delivery_of, record
from services.notifier.store import CHANNEL


class RelayStore:
    """The relay's way to the `delivery` table. Every change is one guarded statement, as in `DeliveryStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_due(self, now: datetime, stale_before: datetime, limit: int, *, stale_too: bool) -> list[DeliveryId]:
        """Marks due codes as published at `now` and answers their ids: new ones, and where `stale_too`, those published
        before `stale_before` and still not claimed. Two relays never get the same one."""
        async with self._database.connection() as connection:
            which = "published_at IS NULL OR published_at < %(stale)s" if stale_too else "published_at IS NULL"
            return await _take(connection, which, now, stale_before, limit, notices=False)

    async def take_due_notices(
        self, now: datetime, stale_before: datetime, most: int, *, stale_too: bool
    ) -> list[DeliveryId]:
        """The same for notices, of which no more than `most` are on their way, whatever the number of relays."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(hashtext('delivery_notices')) AS mine")
            lock = await cursor.fetchone()
            if not lock or not lock["mine"]:
                return []  # another relay is at it
            cursor = await connection.execute(
                "SELECT count(*) AS under_way FROM delivery"
                " WHERE is_notice AND published_at IS NOT NULL AND state IN ('queued', 'sending')"
            )
            found = await cursor.fetchone()
            room = most - (found["under_way"] if found else most)
            taken = []
            if stale_too:  # they have their room
                taken += await _take(connection, "published_at < %(stale)s", now, stale_before, most, notices=True)
            if room > 0:
                taken += await _take(connection, "published_at IS NULL", now, stale_before, room, notices=True)
        return taken

    async def forget_publishing(self, delivery_ids: Sequence[DeliveryId]) -> None:
        """For those whose ids the broker did not take: they are due at once again."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE delivery SET published_at = NULL WHERE id = ANY (%s) AND state = 'queued'", [list(delivery_ids)]
            )

    async def expire(self, now: datetime, sendable_until: datetime) -> int:
        """Ends what can no longer be sent in time."""
        return await self._end_many(
            "state = 'queued' AND not_after <= %(limit)s", State.EXPIRED, "too_late", sendable_until, now
        )

    async def give_up_lost(self, now: datetime, sending_before: datetime) -> int:
        """Ends what has been `sending` for too long: whoever had it died, and may have sent it."""
        return await self._end_many(
            "state = 'sending' AND sending_at <= %(limit)s", State.UNKNOWN, "worker_lost", sending_before, now
        )

    async def _end_many(self, which: str, state: State, reason: str, limit: datetime, now: datetime) -> int:
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET state = %(state)s, reason = %(reason)s, sealed = NULL, updated_at = %(now)s"  # noqa: S608
                f" WHERE id IN (SELECT id FROM delivery WHERE {which} LIMIT 500 FOR UPDATE SKIP LOCKED)"
                f" AND {which} RETURNING {COLUMNS}",
                {"state": state, "reason": reason, "limit": limit, "now": now},
            )
            ended = [delivery_of(row) for row in await cursor.fetchall()]
            for delivery in ended:
                await record(connection, delivery, now)
        return len(ended)

    async def oldest_due(self, now: datetime, *, notices: bool) -> datetime | None:
        """Since when the longest-waiting due code, or notice, could have been sent."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT min(next_at) AS since FROM delivery"
                " WHERE state = 'queued' AND is_notice = %s AND next_at <= %s",
                [notices, now],
            )
            row = await cursor.fetchone()
        return row["since"] if row else None

    async def forget_spending(self, before: datetime) -> int:
        """Drops what was counted on the days before that one."""
        async with self._database.connection() as connection:
            return await spending_rows.forget(connection, spending_rows.day_of(before))

    async def texts_taken_on(self, now: datetime) -> int:
        """How many text messages the deployment has taken on today, as they are paid for."""
        async with self._database.connection() as connection:
            return await spending_rows.taken_on(connection, now)


class QueuedSignal:
    """Wakes the relay when a delivery was queued. It may miss one (a broken connection); the relay also looks by
    itself."""

    def __init__(self, url: str, password: str) -> None:
        self._conninfo = conninfo(url, password)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[None]]:
        """Yields an iterator that steps at every signal; raises OSError where the connection breaks."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise ConnectionError(type(error).__name__) from error
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield self._signals(connection)
        finally:
            await connection.close()

    @staticmethod
    async def _signals(connection: "psycopg.AsyncConnection[Any]") -> AsyncIterator[None]:
        try:
            async for _ in connection.notifies():
                yield None
        except psycopg.Error as error:
            raise ConnectionError(type(error).__name__) from error


async def _take(
    connection: Connection, which: str, now: datetime, stale_before: datetime, limit: int, *, notices: bool
) -> list[DeliveryId]:
    # Materialized: as a subquery it may be run again for every row, and then takes more than the limit.
    cursor = await connection.execute(
        "WITH due AS MATERIALIZED (SELECT id FROM delivery"  # noqa: S608
        " WHERE state = 'queued' AND is_notice = %(notices)s AND next_at <= %(now)s AND not_after > %(now)s"
        f" AND ({which}) ORDER BY next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)"
        " UPDATE delivery SET published_at = %(now)s FROM due"
        " WHERE delivery.id = due.id AND state = 'queued' RETURNING delivery.id",
        {"now": now, "notices": notices, "stale": stale_before, "limit": limit},
    )
    return [DeliveryId(row["id"]) for row in await cursor.fetchall()]
