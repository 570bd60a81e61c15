"""Where a service's database holds sealed records, and what is asked of it about their keys: by running services
(`DatabaseChecks`) and by the operator's commands (`RotationStore`).

A record's key stands in its first bytes, so nothing is opened to count or to find the records of a key.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, LiteralString

import psycopg

from services.common import audit
from services.common.audit import AuditEvent
from services.common.postgres import Database, conninfo

_LOCK = 0x6B657973  # any number, the same for every rotation in this database
_COUNTING_TIMEOUT = "10min"  # of all records, which may be many; requests are given five seconds


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed bytes, in a table whose rows `key`, a column of text, names."""

    table: LiteralString
    key: LiteralString
    column: LiteralString

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def key_id(self) -> LiteralString:
        return f"substr({self.column}, 2, 4)"

    def samples(self) -> LiteralString:
        return (
            f"(SELECT DISTINCT ON ({self.key_id}) {self.column} AS sealed FROM {self.table}"  # noqa: S608
            f" WHERE {self.column} IS NOT NULL)"
        )


class DatabaseChecks:
    """The known texts by which a service tells whether its keyring is the one of its database."""

    def __init__(self, database: Database, columns: Sequence[SealedColumn]) -> None:
        self._database = database
        self._columns = columns

    async def keep(self, key_id: int, sealed: bytes) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO sealing_check (key_id, sealed) VALUES (%s, %s) ON CONFLICT DO NOTHING", [key_id, sealed]
            )

    async def all(self) -> dict[int, bytes]:
        async with self._database.connection() as connection:
            cursor = await connection.execute("SELECT key_id, sealed FROM sealing_check")
            return {row["key_id"]: row["sealed"] for row in await cursor.fetchall()}

    async def samples(self) -> list[bytes]:
        found: list[bytes] = []
        async with self._database.connection() as connection:
            for column in self._columns:
                cursor = await connection.execute(column.samples())
                found += [row["sealed"] for row in await cursor.fetchall()]
        return found


class RotationStore(AbstractContextManager["RotationStore"]):
    """One connection, over which a rotation does all it does: without it, it has lost the lock, and can do no more."""

    def __init__(self, url: str, password: str, columns: Sequence[SealedColumn]) -> None:
        self.columns = columns
        self._connection = psycopg.connect(conninfo(url, password), autocommit=True)
        self._connection.execute("SELECT set_config('statement_timeout', %s, false)", [_COUNTING_TIMEOUT])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def try_lock(self) -> bool:
        """Until the connection ends; False where another command has it."""
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
        return bool(row and row[0])

    def counts(self) -> dict[str, Counter[int]]:
        """Records by column and key."""
        return {str(column): self._count(column) for column in self.columns}

    def _count(self, column: SealedColumn) -> Counter[int]:
        rows = self._connection.execute(
            f"SELECT {column.key_id}, count(*) FROM {column.table}"  # noqa: S608
            f" WHERE {column.column} IS NOT NULL GROUP BY 1"
        )
        return Counter({int.from_bytes(key_id): count for key_id, count in rows})

    def under_other_keys(self, column: SealedColumn, active: int, after: str, limit: int) -> list[tuple[str, bytes]]:
        """The next records, by row, that another key than the active one seals."""
        cursor = self._connection.execute(
            f"SELECT {column.key}, {column.column} FROM {column.table} WHERE {column.key} > %s"  # noqa: S608
            f" AND {column.column} IS NOT NULL AND {column.key_id} <> %s ORDER BY {column.key} LIMIT %s",
            [after, active.to_bytes(4), limit],
        )
        return [(key, bytes(sealed)) for key, sealed in cursor]

    def replace(self, column: SealedColumn, rows: Sequence[tuple[str, bytes, bytes]]) -> int:
        """Puts the new in place of the old where the old still stands. A row that somebody holds is left for later: who
        signs in never waits for more than one such statement, and nobody waits for each other in a ring."""
        if not rows:
            return 0
        keys, olds, news = zip(*rows, strict=True)
        cursor = self._connection.execute(
            f"WITH given AS (SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) AS g (key, old, new)),"  # noqa: S608
            f" free AS (SELECT t.{column.key} AS key FROM {column.table} t JOIN given ON t.{column.key} = given.key"
            f" WHERE t.{column.column} = given.old FOR NO KEY UPDATE OF t SKIP LOCKED)"
            f" UPDATE {column.table} SET {column.column} = given.new FROM given JOIN free USING (key)"
            f" WHERE {column.table}.{column.key} = free.key AND {column.table}.{column.column} = given.old",
            [list(keys), list(olds), list(news)],
        )
        return cursor.rowcount

    def samples(self) -> list[bytes]:
        return [bytes(row[0]) for column in self.columns for row in self._connection.execute(column.samples())]

    def checks(self) -> dict[int, bytes]:
        rows: Any = self._connection.execute("SELECT key_id, sealed FROM sealing_check")
        return {key_id: bytes(sealed) for key_id, sealed in rows}

    def keep_check(self, key_id: int, sealed: bytes) -> None:
        self._connection.execute(
            "INSERT INTO sealing_check (key_id, sealed) VALUES (%s, %s) ON CONFLICT DO NOTHING", [key_id, sealed]
        )

    def finish(self, active: int, event: AuditEvent) -> None:
        """Forgets the known texts of all other keys, and records the event with it."""
        with self._connection.transaction():
            self._connection.execute("DELETE FROM sealing_check WHERE key_id <> %s", [active])
            self._connection.execute(audit.INSERT, audit.row(event))
