"""A service's audit trail with its sealer, before a real PostgreSQL with the roles of the product; the fixtures of it
stand in `conftest`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deploy.embedded import EmbeddedPostgres
from services.common.audit import AuditEvent, record
from services.common.audit_check import ChainCheck, Finding, KnownHead
from services.common.audit_sealer import Sealer
from services.common.clock import FixedClock
from services.common.postgres import Database

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
SERVICE = "notifier"


async def no_wait(seconds: float) -> None:
    """Nothing is on its way in these tests."""


@dataclass
class Trail:
    """A service's trail: its application role, its sealer, and a superuser behind the back of both."""

    postgres: EmbeddedPostgres
    url: str
    password: str
    application: Database
    clock: FixedClock
    new_sealer: Callable[[], Awaitable[Sealer]]
    sealer: Sealer

    @property
    def name(self) -> str:
        return str(psycopg.conninfo.conninfo_to_dict(self.url)["dbname"])

    async def write(self, count: int = 1, clinic: str = "cli_1", kind: str = "delivery.sent", **detail: Any) -> None:
        for _ in range(count):
            event = AuditEvent(kind, self.clock.now(), clinic, "user", "usr_1", "usr_2", "192.0.2.1", detail)
            async with self.application.transaction() as connection:
                await record(connection, event)

    def sql(self, query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        with self.postgres.connect(self.name) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(query, values or [])
            return cursor.fetchall() if cursor.description else []

    def as_service(self, query: str, values: list[Any]) -> None:
        """One statement through the service's own role."""
        with psycopg.connect(self.url, password=self.password) as connection:
            connection.execute(query, values)  # type: ignore[arg-type]

    def event(self, seq: int) -> str:
        return str(self.sql("SELECT id::text AS id FROM audit_event WHERE seq = %s", [seq])[0]["id"])

    async def findings(self, *heads: KnownHead) -> list[Finding]:
        check = ChainCheck(self.application, SERVICE, no_wait)
        return [found async for found in check.findings(heads)]

    async def found(self, *heads: KnownHead) -> list[tuple[str, str]]:
        return [(one.what, one.where) for one in await self.findings(*heads)]

    async def head(self) -> KnownHead:
        head = await self.sealer.head()
        return KnownHead(head.position, head.hash.hex())
