"""The contract `countersign.audit.v1`, which otp, policy and notifier serve alike: the one piece of common that knows a
contract, because the alternative is the same file three times. Translates; decides nothing."""

from datetime import UTC
from typing import Any

from countersign.audit.v1 import audit_pb2, audit_pb2_grpc

from services.common.audit_trail import MOST_EVENTS, AuditTrail, TrailEvent, TrailPosition
from services.common.errors import ErrorCode, ServiceError
from services.common.postgres import Database
from services.common.rpc_server import Allowed, RpcServer

AUDIT_ALLOWED: Allowed = {"/countersign.audit.v1.Audit/List": frozenset({"identity"})}


class AuditServicer(audit_pb2_grpc.AuditServicer):
    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def List(self, request: audit_pb2.ListRequest, context: Any) -> audit_pb2.ListResponse:  # noqa: N802
        if not request.clinic_id or not 1 <= request.limit <= MOST_EVENTS:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"a clinic, and a limit of 1 to {MOST_EVENTS}, must be given")
        before = _position(request.before) if request.HasField("before") else None
        events = await self._trail.page(request.clinic_id, request.limit, before, request.user_id, request.kind)
        return audit_pb2.ListResponse(events=[_wire(event) for event in events])


def serve_audit(server: RpcServer, database: Database) -> None:
    """Adds the contract to a server whose allow-list holds `AUDIT_ALLOWED`."""
    service = audit_pb2.DESCRIPTOR.services_by_name["Audit"]
    server.register(audit_pb2_grpc.add_AuditServicer_to_server, AuditServicer(AuditTrail(database)), service)


def _position(position: audit_pb2.Position) -> TrailPosition:
    return TrailPosition(position.at.ToDatetime(UTC), position.seq, position.inclusive)


def _wire(event: TrailEvent) -> audit_pb2.Event:
    wire = audit_pb2.Event(
        id=event.id,
        seq=event.seq,
        clinic_id=event.clinic_id,
        actor_kind=event.actor_kind,
        actor_id=event.actor_id or "",
        subject_id=event.subject_id or "",
        kind=event.kind,
        address=event.address or "",
        request_id=event.request_id or "",
        detail=event.detail,
    )
    wire.at.FromDatetime(event.at)
    return wire
