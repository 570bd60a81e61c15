"""A delivery's row as the stores read it, and the audit event that every change of it carries."""

from datetime import datetime
from typing import Any

from services.common import audit
from services.common.audit import AuditEvent
from services.common.logs import request_id_var
from services.common.postgres import Connection
from services.notifier.model import Channel, Delivery, DeliveryId, Kind, NoticeKind, State

COLUMNS = (
    "id, kind, is_notice, channel, locale, clinic_id, user_id, to_hint, state, reason, provider_sid, attempt,"
    " request_id, not_after"
)


async def record(connection: Connection, delivery: Delivery, now: datetime) -> None:
    """One audit event a change of state, under the request that asked for the message."""
    detail: dict[str, Any] = {
        "delivery_id": delivery.id,
        "message_kind": delivery.kind,
        "channel": delivery.channel,
        "attempt": delivery.attempt,
    }
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


def delivery_of(row: dict[str, Any]) -> Delivery:
    return Delivery(
        id=DeliveryId(row["id"]),
        kind=NoticeKind(row["kind"]) if row["is_notice"] else Kind(row["kind"]),
        channel=Channel(row["channel"]),
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
