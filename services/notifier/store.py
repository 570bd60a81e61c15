"""Deliveries in PostgreSQL. Every change is one guarded statement and carries its audit event in the same transaction,
so that of several who would move a delivery exactly one does, and each move is on record once.

Times are given by the caller; nothing here asks the server for its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import psycopg

from services.common import audit
from services.common.audit import AuditEvent
from services.common.logs import request_id_var
from services.common.postgres import Connection, Database, conninfo
from services.notifier.model import Claim, Delivery, DeliveryId, Kind, Order, Outcome, State

_COLUMNS = "id, kind, locale, clinic_id, user_id, to_hint, state, reason, provider_sid, attempt, request_id, not_after"
_CHANNEL = "delivery_queued"


class DeliveryStore:
    """The only way to the `delivery` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        await self._database.ping()

    async def insert(
        self, delivery_id: DeliveryId, order: Order, to_hint: str, sealed: bytes, now: datetime
    ) -> Delivery:
        """Puts an order on record and tells the relay at the commit; answers the earlier delivery where its request
        key is known."""
        request_id = request_id_var.get()
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "INSERT INTO delivery (id, request_key, kind, locale, clinic_id, user_id, to_hint, sealed, state,"  # noqa: S608
                " request_id, created_at, not_after, next_at, updated_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'queued', %s, %s, %s, %s, %s)"
                f" ON CONFLICT (request_key) DO NOTHING RETURNING {_COLUMNS}",
                [
                    *(delivery_id, order.request_key, order.kind, order.locale, order.clinic_id, order.user_id),
                    *(to_hint, sealed, request_id, now, order.not_after, now, now),
                ],
            )
            if row := await cursor.fetchone():
                delivery = _delivery(row)
                await _record(connection, delivery, now)
                await connection.execute("SELECT pg_notify(%s, '')", [_CHANNEL])
                return delivery
        earlier = await self.find_by_key(order.request_key)
        assert earlier is not None  # rows are never deleted while their key can be repeated
        return earlier

    async def find(self, delivery_id: DeliveryId) -> Delivery | None:
        return await self._find("id", delivery_id)

    async def find_by_key(self, request_key: str) -> Delivery | None:
        return await self._find("request_key", request_key)

    async def claim(self, delivery_id: DeliveryId, now: datetime, sendable_until: datetime) -> Claim | None:
        """Moves a due delivery to `sending` and hands it to this caller alone; None where another has it, where it has
        ended, or where there is none. Committed on return: whatever dies now, nobody sends it a second time."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET state = 'sending', attempt = attempt + 1, sending_at = %(now)s,"  # noqa: S608
                " updated_at = %(now)s, reason = NULL"
                " WHERE id = %(id)s AND state = 'queued' AND next_at <= %(now)s AND not_after > %(until)s"
                f" RETURNING {_COLUMNS}, sealed",
                {"id": delivery_id, "now": now, "until": sendable_until},
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            delivery = _delivery(row)
            await _record(connection, delivery, now)
        return Claim(delivery, bytes(row["sealed"]))

    async def put_back(self, claimed: Delivery, reason: str, next_at: datetime, now: datetime) -> bool:
        """`sending` → `queued`, for a message that was certainly not sent."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET state = 'queued', reason = %(reason)s, next_at = %(next_at)s,"  # noqa: S608
                " published_at = NULL, sending_at = NULL, updated_at = %(now)s"
                " WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'sending'"
                f" RETURNING {_COLUMNS}",
                {"id": claimed.id, "attempt": claimed.attempt, "reason": reason, "next_at": next_at, "now": now},
            )
            row = await cursor.fetchone()
            if row:
                await _record(connection, _delivery(row), now)
        return row is not None

    async def end_attempt(
        self, claimed: Delivery, state: State, outcome: Outcome, provider: str, reason: str | None, now: datetime
    ) -> bool:
        """Records what the claimed attempt came to. The answer may come after the attempt was given up as `unknown`,
        and after the provider's own callback, which then knows more."""
        which = {"id": claimed.id, "attempt": claimed.attempt}
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE delivery SET provider = %(provider)s, provider_sid = COALESCE(provider_sid, %(sid)s)"
                " WHERE id = %(id)s AND attempt = %(attempt)s",
                {**which, "provider": provider, "sid": outcome.sid},
            )
            cursor = await connection.execute(
                "UPDATE delivery SET state = %(state)s, reason = %(reason)s, provider_code = %(code)s, sealed = NULL,"  # noqa: S608
                " updated_at = %(now)s WHERE id = %(id)s AND attempt = %(attempt)s"
                " AND (state = 'sending' OR (state = 'unknown' AND %(state)s <> 'unknown'))"
                f" RETURNING {_COLUMNS}",
                {**which, "state": state, "reason": reason, "code": outcome.code, "now": now},
            )
            row = await cursor.fetchone()
            if row:
                await _record(connection, _delivery(row), now)
        return row is not None

    async def apply_callback(
        self,
        delivery_id: DeliveryId,
        sid: str,
        status: str,
        state: State,
        reason: str | None,
        code: int | None,
        now: datetime,
    ) -> bool | None:
        """Notes a provider's status and moves the delivery on where that is forward. None: there is no such delivery,
        it has another message, or this very status was noted before. False: noted, nothing moved."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET provider_sid = %(sid)s, provider_statuses = provider_statuses || %(status)s::text"
                " WHERE id = %(id)s AND attempt > 0 AND COALESCE(provider_sid, %(sid)s) = %(sid)s"
                " AND NOT %(status)s = ANY (provider_statuses) RETURNING state",
                {"id": delivery_id, "sid": sid, "status": status},
            )
            if await cursor.fetchone() is None:
                return None
            # `queued` after an attempt: the provider has it after all, so it must not be sent again.
            moves_from = ["queued", "sending", "unknown", *(["sent"] if state is not State.SENT else [])]
            cursor = await connection.execute(
                "UPDATE delivery SET state = %(state)s, reason = %(reason)s, provider_code = %(code)s, sealed = NULL,"  # noqa: S608
                " updated_at = %(now)s WHERE id = %(id)s AND state = ANY (%(from)s)"
                f" RETURNING {_COLUMNS}",
                {"id": delivery_id, "state": state, "reason": reason, "code": code, "now": now, "from": moves_from},
            )
            if row := await cursor.fetchone():
                await _record(connection, _delivery(row), now)
            return row is not None

    async def take_due(self, now: datetime, stale_before: datetime, limit: int, *, stale_too: bool) -> list[DeliveryId]:
        """Marks due deliveries as published at `now` and answers their ids: new ones, and where `stale_too`, those
        published before `stale_before` and still not claimed. Two relays never get the same one."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET published_at = %(now)s WHERE id IN (SELECT id FROM delivery"
                " WHERE state = 'queued' AND next_at <= %(now)s AND not_after > %(now)s"
                " AND (published_at IS NULL OR (%(stale_too)s AND published_at < %(stale)s))"
                " ORDER BY next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AND state = 'queued' RETURNING id",
                {"now": now, "stale": stale_before, "stale_too": stale_too, "limit": limit},
            )
            return [DeliveryId(row["id"]) for row in await cursor.fetchall()]

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
                f" AND {which} RETURNING {_COLUMNS}",
                {"state": state, "reason": reason, "limit": limit, "now": now},
            )
            ended = [_delivery(row) for row in await cursor.fetchall()]
            for delivery in ended:
                await _record(connection, delivery, now)
        return len(ended)

    async def oldest_due(self, now: datetime) -> datetime | None:
        """Since when the longest-waiting due delivery could have been sent."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT min(next_at) AS since FROM delivery WHERE state = 'queued' AND next_at <= %s", [now]
            )
            row = await cursor.fetchone()
        return row["since"] if row else None

    async def _find(self, column: str, value: str) -> Delivery | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(f"SELECT {_COLUMNS} FROM delivery WHERE {column} = %s", [value])  # noqa: S608
            row = await cursor.fetchone()
        return _delivery(row) if row else None


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
            await connection.execute(f"LISTEN {_CHANNEL}")
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


async def _record(connection: Connection, delivery: Delivery, now: datetime) -> None:
    """One audit event a change of state, under the request that asked for the message."""
    detail: dict[str, Any] = {"delivery_id": delivery.id, "message_kind": delivery.kind, "attempt": delivery.attempt}
    if delivery.reason:
        detail["reason"] = delivery.reason
    token = request_id_var.set(delivery.request_id)
    try:
        event = AuditEvent(
            kind=f"delivery.{delivery.state}",
            at=now,
            clinic_id=delivery.clinic_id,
            actor_kind="system",
            actor_id=None,
            subject_id=delivery.user_id,
            detail=detail,
        )
        await audit.record(connection, event)
    finally:
        request_id_var.reset(token)


def _delivery(row: dict[str, Any]) -> Delivery:
    return Delivery(
        id=DeliveryId(row["id"]),
        kind=Kind(row["kind"]),
        locale=row["locale"],
        clinic_id=row["clinic_id"],
        user_id=row["user_id"],
        to_hint=row["to_hint"],
        state=State(row["state"]),
        reason=row["reason"],
        provider_sid=row["provider_sid"],
        attempt=row["attempt"],
        request_id=row["request_id"],
        not_after=row["not_after"],
    )
