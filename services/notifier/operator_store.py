"""What an operator asks of the deliveries: which there are, what became of one, and to try one again at once. Numbers
and codes are sealed in a column that nothing here reads.

Times are given by the caller; nothing here asks the server for its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.common import audit
from services.common.audit import AuditEvent
from services.common.logs import request_id_var
from services.common.postgres import Database
from services.notifier.model import DeliveryId, State
from services.notifier.store import CHANNEL

HASTENED = "delivery.hastened"
_CLOCKS_APART = timedelta(minutes=1)

_SHOWN = (
    "id, state, reason, kind, is_notice, channel, to_hint, attempt, provider, provider_sid, provider_code,"
    " provider_statuses, clinic_id, user_id, request_id, created_at, next_at, not_after, published_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    """A delivery's row as an operator may see it."""

    id: DeliveryId
    state: State
    reason: str | None
    kind: str
    is_notice: bool
    channel: str
    to_hint: str
    attempt: int
    provider: str | None
    provider_sid: str | None
    provider_code: int | None
    provider_statuses: list[str]
    clinic_id: str
    user_id: str
    request_id: str
    created_at: datetime
    next_at: datetime
    not_after: datetime
    published_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Happened:
    """An audit event of a delivery."""

    at: datetime
    kind: str
    actor_kind: str
    attempt: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class OpenCount:
    """How many deliveries of a state and sort are in a bracket of age, which is named by its upper end."""

    state: State
    is_notice: bool
    age: str
    count: int


AGES = (("10s", 10), ("60s", 60), ("300s", 300), ("3600s", 3600))
OLDER = "inf"


class OperatorStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, states: Sequence[State], limit: int, *, newest_first: bool = False) -> list[ShownDelivery]:
        """Those in one of the states, oldest first."""
        order = "DESC" if newest_first else "ASC"
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT {_SHOWN} FROM delivery WHERE state = ANY (%s)"  # noqa: S608
                f" ORDER BY created_at {order}, id {order} LIMIT %s",
                [list(states), limit],
            )
            return [_shown(row) for row in await cursor.fetchall()]

    async def find(self, delivery_id: DeliveryId) -> ShownDelivery | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(f"SELECT {_SHOWN} FROM delivery WHERE id = %s", [delivery_id])  # noqa: S608
            row = await cursor.fetchone()
        return _shown(row) if row else None

    async def history(self, delivery: ShownDelivery, now: datetime) -> list[Happened]:
        """The delivery's events, oldest first. Clinic and time are named, because the trail is indexed by them."""
        is_open = delivery.state in (State.QUEUED, State.SENDING)
        until = (max(now, delivery.updated_at) if is_open else delivery.updated_at) + _CLOCKS_APART
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "SELECT at, kind, actor_kind, COALESCE((detail->>'attempt')::integer, 0) AS attempt,"
                " detail->>'reason' AS reason FROM audit_event"
                " WHERE clinic_id = %s AND at BETWEEN %s AND %s AND detail->>'delivery_id' = %s ORDER BY seq",
                [delivery.clinic_id, delivery.created_at - _CLOCKS_APART, until, delivery.id],
            )
            return [Happened(**row) for row in await cursor.fetchall()]

    async def hasten(self, delivery: ShownDelivery, now: datetime, sendable_until: datetime) -> bool:
        """Makes a delivery due that waits for its next try. False where it does not wait any more, or was never to be
        sent again: then nothing has changed."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                "UPDATE delivery SET next_at = %(now)s, published_at = NULL"
                " WHERE id = %(id)s AND state = 'queued' AND next_at > %(now)s AND not_after > %(until)s"
                " AND provider_sid IS NULL RETURNING attempt",
                {"id": delivery.id, "now": now, "until": sendable_until},
            )
            row = await cursor.fetchone()
            if row is None:
                return False
            token = request_id_var.set(delivery.request_id)
            try:
                event = AuditEvent(
                    kind=HASTENED,
                    at=now,
                    clinic_id=delivery.clinic_id,
                    actor_kind="operator",
                    actor_id=None,
                    subject_id=delivery.user_id,
                    detail={
                        "delivery_id": delivery.id,
                        "message_kind": delivery.kind,
                        "channel": delivery.channel,
                        "attempt": row["attempt"],
                        "waited_for": delivery.next_at.isoformat(),
                    },
                )
                await audit.record(connection, event)
            finally:
                request_id_var.reset(token)
            await connection.execute("SELECT pg_notify(%s, '')", [CHANNEL])
        return True

    async def open_counts(self, now: datetime) -> list[OpenCount]:
        """What is under way, by state, sort and age. Reads the open rows alone, by their indexes."""
        ages = " ".join(f"WHEN created_at > %(now)s - interval '{seconds} s' THEN '{age}'" for age, seconds in AGES)
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                f"SELECT state, is_notice, CASE {ages} ELSE '{OLDER}' END AS age, count(*) AS count"  # noqa: S608
                " FROM delivery WHERE state = 'queued' OR state = 'sending' GROUP BY 1, 2, 3",
                {"now": now},
            )
            return [
                OpenCount(State(row["state"]), row["is_notice"], row["age"], row["count"])
                for row in await cursor.fetchall()
            ]


def _shown(row: dict[str, Any]) -> ShownDelivery:
    return ShownDelivery(**{**row, "id": DeliveryId(row["id"]), "state": State(row["state"])})
