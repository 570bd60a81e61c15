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


INSERT = (
    "INSERT INTO audit_event (id, at, clinic_id, actor_kind, actor_id, subject_id, kind, address, request_id, detail)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


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
