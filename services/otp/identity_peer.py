"""identity, as the command `import` needs it: whose an e-mail address is. The running service asks it nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.identity.v1 import operations_pb2
from countersign.identity.v1.operations_pb2_grpc import OperationsStub

from services.common.rpc_client import Peer

if TYPE_CHECKING:
    from countersign.identity.v1.operations_pb2_grpc import OperationsAsyncStub

_SECONDS = 10.0  # a person waits for it, and nobody's request does


class IdentityPeer:
    def __init__(self, target: str, tls_dir: Path) -> None:
        self._peer: Peer[OperationsAsyncStub] = Peer(
            lambda channel: OperationsStub(channel), target, "identity", tls_dir
        )

    async def find(self, clinic_slug: str, emails: Sequence[str]) -> tuple[str, list[str]]:
        """The clinic's id and the users', in the same order; empty where there is nobody. Up to 500 at once."""
        request = operations_pb2.FindUsersRequest(clinic_slug=clinic_slug, emails=emails)
        answer = await self._peer.call(self._peer.stub.FindUsers, request, _SECONDS, repeatable=True)
        return answer.clinic_id, list(answer.user_ids)

    async def close(self) -> None:
        await self._peer.close()
