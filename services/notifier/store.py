"""Deliveries in PostgreSQL. Every change is one guarded statement and carries its audit event in the same transaction,
so that of several who would move a delivery exactly one does, and each move is on record once.

Times are given by the caller; nothing here asks the server for its own.
"""

from collections.abc import Sequence
from datetime import datetime

from services.common.logs import request_id_var
from services.common.postgres import Connection, Database
from services.notifier import spending_rows
from services.notifier.model import Claim, DailyCaps, Delivery, DeliveryId, NewDelivery, Outcome, Recent, State
from services.notifier.rows import COLUMNS, delivery_of, record

CHANNEL = "delivery_queued"

_RECENT = (
    "SELECT count(*) FILTER (WHERE state IN ('sent', 'delivered')) AS good,"
    " count(*) FILTER (WHERE state = 'unknown' OR (state = 'queued' AND attempt > 0)"
    " OR (state = 'failed' AND reason = 'provider') OR (state = 'expired' AND NOT is_notice)) AS bad"
    " FROM delivery WHERE channel = 'sms' AND updated_at > %s"
)


class DeliveryStore:
    """The only way to the `delivery` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        await self._database.ping()

    async def insert(self, new: Sequence[NewDelivery], now: datetime, caps: DailyCaps) -> list[Delivery]:
        """Puts these on record, all or none, counts what each costs, and tells the relay at the commit. Answers each,
        or the earlier delivery where its request key is known, which costs nothing. Raises CapReached."""
        request_id = request_id_var.get()
        found: dict[str, Delivery] = {}
        async with self._database.transaction() as connection:
            for each in new:
                cursor = await connection.execute(
                    "INSERT INTO delivery (id, request_key, kind, is_notice, channel, locale, clinic_id, user_id,"  # noqa: S608
                    " to_hint, sealed, state, request_id, created_at, not_after, next_at, updated_at)"
                    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'queued', %s, %s, %s, %s, %s)"
                    f" ON CONFLICT (request_key) DO NOTHING RETURNING {COLUMNS}",
                    [
                        *(each.id, each.request_key, each.kind, each.is_notice, each.channel, each.locale),
                        *(each.clinic_id, each.user_id, each.to_hint, each.sealed, request_id),
                        *(now, each.not_after, now, now),
                    ],
                )
                if row := await cursor.fetchone():
                    found[each.request_key] = delivery_of(row)
                    await record(connection, found[each.request_key], now)
                    await _wake_relay(connection)
            for each in new:
                if each.segments and each.request_key in found:
                    await spending_rows.take(connection, each.clinic_id, each.segments, caps, now)
        if earlier := [each.request_key for each in new if each.request_key not in found]:
            found |= await self.find_by_keys(earlier)
        return [found[each.request_key] for each in new]  # rows are never deleted while their key can be repeated

    async def find(self, delivery_id: DeliveryId) -> Delivery | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(f"SELECT {COLUMNS} FROM delivery WHERE id = %s", [delivery_id])  # noqa: S608
            row = await cursor.fetchone()
        return delivery_of(row) if row else None

    async def find_by_keys(self, request_keys: Sequence[str]) -> dict[str, Delivery]:
        """Those there are, by request key."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT request_key, {COLUMNS} FROM delivery WHERE request_key = ANY (%s)",  # noqa: S608
                [list(request_keys)],
            )
            return {row["request_key"]: delivery_of(row) for row in await cursor.fetchall()}

    async def texts_since(self, since: datetime) -> Recent:
        """How text messages fared since then."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_RECENT, [since])
            row = await cursor.fetchone()
        return Recent(row["good"], row["bad"]) if row else Recent(0, 0)

    async def claim(self, delivery_id: DeliveryId, now: datetime, sendable_until: datetime) -> Claim | None:
        """Moves a due delivery to `sending` and hands it to this caller alone; None where another has it, where it has
        ended, or where there is none. Committed on return: whatever dies now, nobody sends it a second time."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET state = 'sending', attempt = attempt + 1, sending_at = %(now)s,"  # noqa: S608
                " updated_at = %(now)s, reason = NULL"
                " WHERE id = %(id)s AND state = 'queued' AND next_at <= %(now)s AND not_after > %(until)s"
                f" RETURNING {COLUMNS}, sealed",
                {"id": delivery_id, "now": now, "until": sendable_until},
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            delivery = delivery_of(row)
            await record(connection, delivery, now)
        return Claim(delivery, bytes(row["sealed"]))

    async def call_back(self, user_id: str, request_keys: Sequence[str], now: datetime) -> list[Delivery]:
        """Ends those codes of the user that wait, and answers them. One that is being sent is marked, so that it is not
        sent another time."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET replaced_at = %(now)s,"  # noqa: S608
                " state = CASE state WHEN 'queued' THEN 'expired' ELSE state END,"
                " reason = CASE state WHEN 'queued' THEN 'replaced' ELSE reason END,"
                " sealed = CASE state WHEN 'queued' THEN NULL ELSE sealed END,"
                " updated_at = CASE state WHEN 'queued' THEN %(now)s ELSE updated_at END"
                " WHERE request_key = ANY (%(keys)s) AND user_id = %(user)s AND NOT is_notice"
                f" AND state IN ('queued', 'sending') RETURNING {COLUMNS}",
                {"now": now, "keys": list(request_keys), "user": user_id},
            )
            found = [delivery_of(row) for row in await cursor.fetchall()]
            ended = [delivery for delivery in found if delivery.state is State.EXPIRED]
            for delivery in ended:
                await record(connection, delivery, now)
        return ended

    async def put_back(self, claimed: Delivery, reason: str, next_at: datetime, now: datetime) -> Delivery | None:
        """`sending` → `queued`, for a message that was certainly not sent; or, where a newer code has replaced it
        meanwhile, `expired`. None where it had moved on."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET next_at = %(next_at)s, published_at = NULL, sending_at = NULL,"  # noqa: S608
                " updated_at = %(now)s,"
                " state = CASE WHEN replaced_at IS NULL THEN 'queued' ELSE 'expired' END,"
                " reason = CASE WHEN replaced_at IS NULL THEN %(reason)s ELSE 'replaced' END,"
                " sealed = CASE WHEN replaced_at IS NULL THEN sealed END"
                " WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'sending'"
                f" RETURNING {COLUMNS}",
                {"id": claimed.id, "attempt": claimed.attempt, "reason": reason, "next_at": next_at, "now": now},
            )
            row = await cursor.fetchone()
            now_is = delivery_of(row) if row else None
            if now_is:
                await record(connection, now_is, now)
            if claimed.is_notice:
                await _wake_relay(connection)  # the next one may go
        return now_is

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
                f" RETURNING {COLUMNS}",
                {**which, "state": state, "reason": reason, "code": outcome.code, "now": now},
            )
            row = await cursor.fetchone()
            if row:
                await record(connection, delivery_of(row), now)
            if claimed.is_notice:
                await _wake_relay(connection)  # the next one may go
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
                f" RETURNING {COLUMNS}",
                {"id": delivery_id, "state": state, "reason": reason, "code": code, "now": now, "from": moves_from},
            )
            if row := await cursor.fetchone():
                await record(connection, delivery_of(row), now)
            return row is not None


async def _wake_relay(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])
