"""Calls to another service's audit trail: one clinic's events, newest first."""

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.audit.v1 import audit_pb2
from countersign.audit.v1.audit_pb2_grpc import AuditStub

from services.common.audit_trail import TrailEvent, TrailPosition
from services.common.errors import unavailable
from services.common.rpc_client import Peer

if TYPE_CHECKING:
    from countersign.audit.v1.audit_pb2_grpc import AuditAsyncStub

_SECONDS = 2.5  # a page of a long trail is read from disk; nothing hangs longer than 3 s (F02)


class AuditPeer:
    """`service`: otp, policy or notifier."""

    def __init__(self, service: str, target: str, tls_dir: Path) -> None:
        self._peer: Peer[AuditAsyncStub] = Peer(lambda channel: AuditStub(channel), target, service, tls_dir)

    async def close(self) -> None:
        await self._peer.close()

    async def page(
        self, clinic_id: str, limit: int, before: TrailPosition | None = None, user_id: str = "", kind: str = ""
    ) -> list[TrailEvent]:
        """As `AuditTrail.page`. Raises `unavailable` where the service is, or answers for another clinic."""
        request = audit_pb2.ListRequest(clinic_id=clinic_id, limit=limit, user_id=user_id, kind=kind)
        if before:
            request.before.at.FromDatetime(before.at)
            request.before.seq = before.seq
            request.before.inclusive = before.is_inclusive
        response = await self._peer.call(self._peer.stub.List, request, _SECONDS, repeatable=True)
        if any(event.clinic_id != clinic_id for event in response.events):
            raise unavailable(self._peer.name)
        return [_event(event) for event in response.events]


def _event(event: audit_pb2.Event) -> TrailEvent:
    return TrailEvent(
        id=event.id,
        seq=event.seq,
        at=event.at.ToDatetime(UTC),
        clinic_id=event.clinic_id,
        actor_kind=event.actor_kind,
        actor_id=event.actor_id or None,
        subject_id=event.subject_id or None,
        kind=event.kind,
        address=event.address or None,
        request_id=event.request_id or None,
        detail=event.detail,
    )
