"""Seals a service's audit trail into a hash chain, a second after an event at most, through a role that can do nothing
else. Of several replicas one seals at a time, under a lock of the database; every event gets exactly one seal.

A service that cannot seal goes on serving and says so in its metrics and its log: the events themselves are committed
with the changes they tell of, and are sealed when sealing works again. Else whoever stops the sealer stops a clinic.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter, Gauge

from services.common.audit_chain import EVENT_AS_TEXT, START, digest, follow, time_as_text
from services.common.background import Background
from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.common.postgres import Connection, Database

SEALED = Counter("audit_events_sealed_total", "Audit events sealed by this process.")
SEALED_AT = Gauge("audit_sealing_worked_timestamp_seconds", "When every audit event was last found sealed.")
FAILED = Counter("audit_sealing_failures_total", "Passes of the sealer that failed.")
POSITION = Gauge("audit_head_position", "How many audit events the chain held when its head was last read.")
CUT = Counter("audit_chain_cut_total", "Times that a seal was found changed or gone which this process had seen.")

_LOCK = 0x7365616C  # any number, the same for every sealer of this database
_EVERY_SECONDS = 1.0
_TELL_HEAD_EVERY_SECONDS = 3600.0
_TELL_FAILURE_EVERY_SECONDS = 60.0
_BATCH = 500
# An event whose transaction commits late has a lower number than others that are sealed already. How late: our
# transactions are cut after three seconds; a process that was frozen in the middle may take longer. What comes later
# still is found by the sweep.
_LATE_SECONDS = 60.0
_MARK_EVERY_SECONDS = 5.0
_STRETCH = 20_000
"""Numbers that one statement looks through, which keeps it short however long the trail is; and a pass of the sweep."""

# One look into the index an event, whatever the planner believes of tables that it has not counted yet.
_UNSEALED = (
    f"SELECT e.seq, e.id, {EVENT_AS_TEXT} AS event, {time_as_text('%(now)s::timestamptz')} AS sealed_at"  # noqa: S608
    " FROM audit_event e WHERE e.seq > %(after)s AND e.seq <= %(up_to)s"
    " AND (SELECT s.position FROM audit_seal s WHERE s.event_seq = e.seq) IS NULL ORDER BY e.seq LIMIT %(limit)s"
)
_INSERT = (
    "INSERT INTO audit_seal (position, event_seq, event_id, digest, hash, sealed_at)"
    " SELECT position, seq, id, digest, hash, %s FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::bytea[],"
    " %s::bytea[]) AS sealed (position, seq, id, digest, hash)"
)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """The last seal of a chain, or its beginning."""

    position: int = 0
    hash: bytes = START


class Sealer:
    """`start` and `close` bracket its life. `database`: through the sealer's role, with one connection."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sealing = Background(self._run)
        self._known = Head()
        self._marks: deque[tuple[float, int]] = deque()
        self._floor: int | None = None  # everything up to here was sealed more than `_LATE_SECONDS` ago
        self._swept: int | None = 0
        self._failing_since: float | None = None
        self._told_failure_at = 0.0

    async def start(self) -> None:
        await self._database.open()
        self._sealing.start()

    async def close(self) -> None:
        await self._sealing.close()
        await self._database.close()

    async def seal(self) -> int:
        """Seals what is not sealed yet; answers how many events that were."""
        async with self._database.connection() as connection:
            if self._floor is None:
                self._floor = await _first_floor(connection)
            newest = await _newest(connection)
        sealed = 0
        for after in range(self._floor, newest, _STRETCH):
            sealed += await self._seal_between(after, min(after + _STRETCH, newest))
        self._mark(newest)
        if self._swept is not None:
            up_to = min(self._swept + _STRETCH, self._floor)
            sealed += await self._seal_between(self._swept, up_to)
            self._swept = up_to if up_to < self._floor else None
        SEALED_AT.set_to_current_time()
        return sealed

    async def head(self) -> Head:
        """The chain's last seal. Says so where one that this process has seen is no longer there."""
        async with self._database.connection() as connection:
            return await self._read_head(connection)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        tell_head_at = 0.0
        while True:
            try:
                await self.seal()
                if loop.time() >= tell_head_at:
                    head = await self.head()
                    _log.info("audit_head", position=head.position, hash=head.hash.hex())
                    tell_head_at = loop.time() + _TELL_HEAD_EVERY_SECONDS
                    self._swept = 0 if self._swept is None else self._swept
                self._tell_success()
            except Exception as error:
                self._tell_failure(error)
            await asyncio.sleep(_EVERY_SECONDS)

    async def _seal_between(self, after: int, up_to: int) -> int:
        sealed = 0
        while True:
            async with self._database.connection() as connection:
                if not await self._unsealed(connection, after, up_to, limit=1):
                    return sealed
            async with self._database.transaction() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                # After waiting for the lock, so that it sees what another sealer has done under it.
                events = await self._unsealed(connection, after, up_to, limit=_BATCH)
                head = await self._append(connection, events) if events else None
            if head:
                self._known = head
                sealed += len(events)
                SEALED.inc(len(events))
                after = int(events[-1]["seq"])

    async def _append(self, connection: Connection, events: list[dict[str, Any]]) -> Head:
        head = await self._read_head(connection)
        rows: list[tuple[int, int, Any, bytes, bytes]] = []
        for event in events:
            of_event = digest(event["event"], event["sealed_at"])
            head = Head(head.position + 1, follow(head.hash, of_event))
            rows.append((head.position, event["seq"], event["id"], of_event, head.hash))
        await connection.execute(_INSERT, [events[0]["now"], *(list(column) for column in zip(*rows, strict=True))])
        POSITION.set(head.position)
        return head

    async def _unsealed(self, connection: Connection, after: int, up_to: int, limit: int) -> list[dict[str, Any]]:
        now = self._clock.now()
        cursor = await connection.execute(_UNSEALED, {"now": now, "after": after, "up_to": up_to, "limit": limit})
        return [{**row, "now": now} for row in await cursor.fetchall()]

    async def _read_head(self, connection: Connection) -> Head:
        cursor = await connection.execute(
            "SELECT position, hash FROM audit_seal WHERE position = %s"
            " OR position = (SELECT max(position) FROM audit_seal) ORDER BY position DESC",
            [self._known.position],
        )
        found = [Head(row["position"], bytes(row["hash"])) for row in await cursor.fetchall()]
        head = found[0] if found else Head()
        if self._known.position and self._known not in found:
            CUT.inc()
            _log.error(
                "audit_chain_cut", position=self._known.position, hash=self._known.hash.hex(), ends=head.position
            )
        self._known = head
        POSITION.set(head.position)
        return head

    def _mark(self, newest: int) -> None:
        """Everything up to `newest` that was committed is sealed; what commits late is looked for a while longer."""
        now = asyncio.get_running_loop().time()
        if not self._marks or now - self._marks[-1][0] >= _MARK_EVERY_SECONDS:
            self._marks.append((now, newest))
        while self._marks and now - self._marks[0][0] > _LATE_SECONDS:
            self._floor = max(self._floor or 0, self._marks.popleft()[1])

    def _tell_failure(self, error: Exception) -> None:
        FAILED.inc()
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since, self._told_failure_at = now, float("-inf")
        if now - self._told_failure_at >= _TELL_FAILURE_EVERY_SECONDS:
            self._told_failure_at = now
            # The reason in words: a missing table or right is the operator's to mend.
            reason = error.members.get("away") if isinstance(error, ServiceError) else str(error)
            seconds = round(now - self._failing_since)
            _log.error("audit_not_sealed", seconds=seconds, error=type(error).__name__, reason=reason)

    def _tell_success(self) -> None:
        if self._failing_since is not None:
            _log.info("audit_sealed_again")
            self._failing_since = None


async def _newest(connection: Connection) -> int:
    cursor = await connection.execute("SELECT coalesce(max(seq), 0) AS newest FROM audit_event")
    row = await cursor.fetchone()
    return int(row["newest"]) if row else 0


async def _first_floor(connection: Connection) -> int:
    """Where the last thousand seals begin: all before is swept in time, so that a long trail delays nobody."""
    cursor = await connection.execute(
        "SELECT coalesce(min(event_seq), 0) AS floor"
        " FROM (SELECT event_seq FROM audit_seal ORDER BY position DESC LIMIT 1000) AS latest"
    )
    row = await cursor.fetchone()
    return int(row["floor"]) if row else 0
