"""Walks a service's sealed audit trail and names every event that was edited, removed or inserted behind the sealer's
back. Only reads. What it cannot see alone is a trail cut at its end, or made anew as a whole: for that it compares with
heads that were logged earlier.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.common.audit_chain import EVENT_AS_TEXT, START, digest, follow, time_as_text
from services.common.postgres import Database

# A transaction of ours commits within seconds. What is sealed this long after later ones was put in afterwards.
LATE_SECONDS = 300.0
_SEALED_WITHIN_SECONDS = 5.0
_PAGE = 1000
_SWEEP = 20_000

_SEALS = (
    f"SELECT s.position, s.event_seq, s.event_id::text AS event_id, s.digest, s.hash,"  # noqa: S608
    f" {time_as_text('s.sealed_at')} AS sealed_at, extract(epoch FROM s.sealed_at)::float8 AS sealed_at_seconds,"
    f" e.id, e.written_by, e.event FROM (SELECT * FROM audit_seal WHERE position > %s AND position <= %s"
    " ORDER BY position LIMIT %s) s"
    # LIMIT: one look into the index a seal, whatever the planner believes of tables that it has not counted yet.
    f" LEFT JOIN LATERAL (SELECT e.id::text AS id, e.written_by, {EVENT_AS_TEXT} AS event"
    " FROM audit_event e WHERE e.seq = s.event_seq LIMIT 1) e ON true ORDER BY s.position"
)
_UNSEALED = (
    "SELECT e.id::text AS id, e.seq, e.written_by FROM audit_event e WHERE e.seq > %s AND e.seq <= %s"
    " AND (SELECT s.position FROM audit_seal s WHERE s.event_seq = e.seq) IS NULL ORDER BY e.seq"
)

# The trigger that fills in who wrote an event, for everybody and always (O, R: not for everybody; D: off).
_NAMES_WRITERS = (
    "SELECT count(*) AS number FROM pg_trigger WHERE tgrelid = 'audit_event'::regclass"
    " AND tgname = 'audit_event_names_its_writer' AND tgenabled = 'A'"
)


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head as a log line or an earlier check told it."""

    position: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where: `what` is edited, removed, inserted, broken, unsealed, cut or unguarded."""

    what: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.why}"


class ChainCheck:
    """`writer`: the role that may have written the events. After `findings` is exhausted, `position` and `hash` are
    those of the head."""

    def __init__(
        self, database: Database, writer: str, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._database = database
        self._writer = writer
        self._wait = wait
        self.position = 0
        self.hash = START
        self._latest_seq = 0  # of an event with a seal of the page before
        self._sealed: deque[tuple[float, int]] = deque()  # when, and the highest number sealed until then
        self._sealed_long_ago = 0

    async def findings(self, heads: Sequence[KnownHead] = ()) -> AsyncIterator[Finding]:
        ends = await self._number("SELECT coalesce(max(position), 0) AS number FROM audit_seal")
        wanted = {head.position: head for head in heads}
        while self.position < ends:
            async with self._database.connection() as connection:
                rows = await (await connection.execute(_SEALS, [self.position, ends, _PAGE])).fetchall()
            if not rows:
                break
            for seal in rows:
                for found in self._look_at(seal):
                    yield found
                known = wanted.pop(self.position, None)
                if known and known.hash != self.hash.hex():
                    why = f"the head logged earlier was {known.hash}, now it is {self.hash.hex()}"
                    yield Finding("cut", f"position {known.position}", f"{why}: the trail was made anew before it")
        for known in wanted.values():
            if known.position != 0 or known.hash != START.hex():
                why = f"a head was logged there earlier, and now the trail ends at {self.position}"
                yield Finding("cut", f"position {known.position}", why)
        async for found in self._unsealed():
            yield found
        if not await self._number(_NAMES_WRITERS):
            yield Finding("unguarded", "audit_event", "its trigger is off or gone, so an event may claim any writer")

    def _look_at(self, seal: dict[str, Any]) -> list[Finding]:
        position, seq = int(seal["position"]), int(seal["event_seq"])
        event = f"event {seal['event_id']} (seq {seq}, position {position})"
        found: list[Finding] = []
        if position != self.position + 1:
            missing = f"positions {self.position + 1} to {position - 1}"
            between = f"events between seq {self._latest_seq} and {seq} were taken away with their seals"
            found.append(Finding("removed", missing, between))
        elif bytes(seal["hash"]) != follow(self.hash, bytes(seal["digest"])):
            found.append(Finding("broken", event, "its seal does not follow from the one before"))
        if seal["id"] is None:
            found.append(Finding("removed", event, "it was sealed, and is no longer there"))
        elif seal["id"] != seal["event_id"] or digest(seal["event"], seal["sealed_at"]) != bytes(seal["digest"]):
            found.append(Finding("edited", event, "it is not what was sealed"))
        elif (foreign := self._foreign(seal)) is not None:
            found.append(Finding("inserted", event, foreign))
        elif self._is_late(seq, float(seal["sealed_at_seconds"])):
            why = "it was sealed minutes after later ones: put in afterwards, or its seal was taken away"
            found.append(Finding("inserted", event, why))
        self._remember(seq, float(seal["sealed_at_seconds"]))
        self.position, self.hash, self._latest_seq = position, bytes(seal["hash"]), seq
        return found

    def _foreign(self, row: dict[str, Any]) -> str | None:
        return None if row["written_by"] == self._writer else f"{row['written_by']} wrote it, not {self._writer}"

    def _is_late(self, seq: int, sealed_at: float) -> bool:
        while self._sealed and self._sealed[0][0] < sealed_at - LATE_SECONDS:
            self._sealed_long_ago = max(self._sealed_long_ago, self._sealed.popleft()[1])
        return seq < self._sealed_long_ago

    def _remember(self, seq: int, sealed_at: float) -> None:
        if self._sealed and self._sealed[-1][0] == sealed_at:  # a batch has one moment
            seq = max(seq, self._sealed.pop()[1])
        self._sealed.append((sealed_at, seq))

    async def _unsealed(self) -> AsyncIterator[Finding]:
        """What has no seal. One that was written just now gets its time."""
        newest = await self._number("SELECT coalesce(max(seq), 0) AS number FROM audit_event")
        for after in range(0, newest, _SWEEP):
            rows = await self._without_seal(after, min(after + _SWEEP, newest))
            if rows and all(self._foreign(row) is None for row in rows):
                await self._wait(_SEALED_WITHIN_SECONDS)
                rows = await self._without_seal(after, min(after + _SWEEP, newest))
            for row in rows:
                foreign = self._foreign(row)
                where = f"event {row['id']} (seq {row['seq']})"
                if foreign:
                    yield Finding("inserted", where, foreign)
                else:
                    yield Finding("unsealed", where, "it has no seal; is the service running?")

    async def _without_seal(self, after: int, up_to: int) -> list[dict[str, Any]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(_UNSEALED, [after, up_to])).fetchall()

    async def _number(self, query: str) -> int:
        async with self._database.connection() as connection:
            row = await (await connection.execute(query)).fetchone()
        return int(row["number"]) if row else 0
