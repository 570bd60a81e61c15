"""The contract `countersign.outbox.v1`, which otp and policy serve alike, as they do that of the audit trail.
Translates; decides nothing."""

import json
from typing import Any

from countersign.outbox.v1 import outbox_pb2, outbox_pb2_grpc

from services.common.errors import ErrorCode, ServiceError
from services.common.outbox import MOST_EVENTS, Outbox, OutboxEvent
from services.common.postgres import Database
from services.common.rpc_server import Allowed, RpcServer

OUTBOX_ALLOWED: Allowed = {
    f"/countersign.outbox.v1.Outbox/{method}": frozenset({"identity"})
    for method in outbox_pb2.DESCRIPTOR.services_by_name["Outbox"].methods_by_name
}


class OutboxServicer(outbox_pb2_grpc.OutboxServicer):
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def ListPending(  # noqa: N802
        self, request: outbox_pb2.ListPendingRequest, context: Any
    ) -> outbox_pb2.ListPendingResponse:
        if not 1 <= request.limit <= MOST_EVENTS:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"a limit of 1 to {MOST_EVENTS} must be given")
        events = await self._outbox.pending(request.user_id, request.after, request.limit)
        return outbox_pb2.ListPendingResponse(events=[_wire(event) for event in events])

    async def Settle(self, request: outbox_pb2.SettleRequest, context: Any) -> outbox_pb2.SettleResponse:  # noqa: N802
        if len(request.ids) > MOST_EVENTS:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"no more than {MOST_EVENTS} may be settled at once")
        await self._outbox.settle(list(request.ids))
        return outbox_pb2.SettleResponse()


def serve_outbox(server: RpcServer, database: Database) -> None:
    """Adds the contract to a server whose allow-list holds `OUTBOX_ALLOWED`."""
    service = outbox_pb2.DESCRIPTOR.services_by_name["Outbox"]
    server.register(outbox_pb2_grpc.add_OutboxServicer_to_server, OutboxServicer(Outbox(database)), service)


def _wire(event: OutboxEvent) -> outbox_pb2.Event:
    wire = outbox_pb2.Event(
        id=event.id,
        seq=event.seq,
        kind=event.kind,
        clinic_id=event.clinic_id,
        user_id=event.user_id,
        session_id=event.session_id or "",
        address=event.address or "",
        detail=json.dumps(dict(event.detail)),
    )
    wire.at.FromDatetime(event.at)
    return wire
