"""Writes audit events in the transaction of the change they tell of. The application role may only insert them.

Every service's `audit_event` table has the columns named here; details hold ids and facts, never codes or secrets.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from services.common.logs import request_id_var
from services.common.postgres import Connection


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who (`actor_kind`: user, operator, system) did what (`kind`, e.g. 'session.created') to whom, and from where."""

    kind: str
    at: datetime
    clinic_id: str | None
    actor_kind: str
    actor_id: str | None
    subject_id: str | None
    address: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


_NAMES = ("id", "at", "clinic_id", "actor_kind", "actor_id", "subject_id", "kind", "address", "request_id", "detail")

INSERT = f"INSERT INTO audit_event ({', '.join(_NAMES)}) VALUES ({', '.join(['%s'] * len(_NAMES))})"  # noqa: S608


def insert_from(source: str) -> str:
    """An INSERT of one event for each row of `source`, to stand in the statement whose rows it tells of. Its values are
    `named`. `source` is ours, never a caller's."""
    values = ", ".join(f"%(audit_{name})s" for name in _NAMES)
    return f"INSERT INTO audit_event ({', '.join(_NAMES)}) SELECT {values} FROM {source}"  # noqa: S608


def named(event: AuditEvent) -> dict[str, Any]:
    """The values for `insert_from`."""
    return {f"audit_{name}": value for name, value in zip(_NAMES, row(event), strict=True)}


def row(event: AuditEvent) -> list[Any]:
    """The values for `INSERT`, for a caller that pipelines it with its own statements."""
    return [
        uuid.uuid4(),
        event.at,
        event.clinic_id,
        event.actor_kind,
        event.actor_id,
        event.subject_id,
        event.kind,
        event.address,
        request_id_var.get() or None,
        Jsonb(dict(event.detail)),
    ]


async def record(connection: Connection, event: AuditEvent) -> None:
    """Adds the event to the transaction that `connection` is in."""
    await connection.execute(INSERT, row(event))
