"""Calls to another service's outbox: what it has done and is still to be followed up here."""

import json
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.outbox.v1 import outbox_pb2
from countersign.outbox.v1.outbox_pb2_grpc import OutboxStub

from services.common.errors import unavailable
from services.common.outbox import OutboxEvent
from services.common.rpc_client import Peer
from services.identity.model import UserId

if TYPE_CHECKING:
    from countersign.outbox.v1.outbox_pb2_grpc import OutboxAsyncStub

_SECONDS = 1.5


class OutboxPeer:
    """`service`: otp or policy."""

    def __init__(self, service: str, target: str, tls_dir: Path) -> None:
        self._peer: Peer[OutboxAsyncStub] = Peer(lambda channel: OutboxStub(channel), target, service, tls_dir)

    async def close(self) -> None:
        await self._peer.close()

    async def pending(self, user_id: UserId | None, after: int, limit: int) -> list[OutboxEvent]:
        """What is not settled, oldest first; of everybody where nobody is named."""
        request = outbox_pb2.ListPendingRequest(user_id=user_id or "", after=after, limit=limit)
        response = await self._peer.call(self._peer.stub.ListPending, request, _SECONDS, repeatable=True)
        if user_id is not None and any(event.user_id != user_id for event in response.events):
            raise unavailable(self._peer.name)
        return [_event(event) for event in response.events]

    async def settle(self, ids: Sequence[str]) -> None:
        request = outbox_pb2.SettleRequest(ids=ids)
        await self._peer.call(self._peer.stub.Settle, request, _SECONDS, repeatable=True)


def _event(event: outbox_pb2.Event) -> OutboxEvent:
    return OutboxEvent(
        kind=event.kind,
        at=event.at.ToDatetime(UTC),
        clinic_id=event.clinic_id,
        user_id=event.user_id,
        session_id=event.session_id or None,
        address=event.address or None,
        detail=json.loads(event.detail),
        id=event.id,
        seq=event.seq,
    )
