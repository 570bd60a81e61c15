"""What text messages cost, counted in PostgreSQL: one statement a cap, which counts a message's segments or says that
the cap would be passed. Within the caller's transaction, so what is not taken on is not counted, and what is counted
is on record.
"""

from datetime import UTC, date, datetime

from services.common.postgres import Connection
from services.notifier.model import CapReached, DailyCaps, Purse

_DEPLOYMENT = ""  # no clinic has this id
_TAKE = (
    "INSERT INTO sms_spending AS spent (day, clinic_id, texts)"
    " SELECT %(day)s, %(clinic_id)s, %(segments)s WHERE %(segments)s <= %(cap)s"
    " ON CONFLICT (day, clinic_id) DO UPDATE SET texts = spent.texts + %(segments)s"
    " WHERE spent.texts + %(segments)s <= %(cap)s"
)


async def take(connection: Connection, clinic_id: str, segments: int, caps: DailyCaps, now: datetime) -> None:
    """Counts a text message of the clinic, as so many as it is paid for, or raises CapReached. Waits for others of the
    clinic, then for others of the deployment, in this order; best called last, for until the commit they wait for
    us."""
    for purse, owner, cap in (
        (Purse.CLINIC, clinic_id, caps.clinic),
        (Purse.DEPLOYMENT, _DEPLOYMENT, caps.deployment),
    ):
        cursor = await connection.execute(
            _TAKE, {"day": day_of(now), "clinic_id": owner, "segments": segments, "cap": cap}
        )
        if cursor.rowcount == 0:
            raise CapReached(purse)


async def taken_on(connection: Connection, now: datetime) -> int:
    """How many the deployment has taken on today."""
    cursor = await connection.execute(
        "SELECT texts FROM sms_spending WHERE day = %s AND clinic_id = %s", [day_of(now), _DEPLOYMENT]
    )
    row = await cursor.fetchone()
    return int(row["texts"]) if row else 0


async def forget(connection: Connection, before: date) -> int:
    """Drops the days before; how many rows."""
    cursor = await connection.execute("DELETE FROM sms_spending WHERE day < %s", [before])
    return cursor.rowcount


def day_of(now: datetime) -> date:
    return now.astimezone(UTC).date()
