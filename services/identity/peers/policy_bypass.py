"""Calls to the policy service about bypasses: granted, used by one session, revoked or undone."""

from typing import TYPE_CHECKING

from countersign.policy.v1 import policy_pb2

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.identity.model import BypassId, ClinicId, SessionId, UserId
from services.identity.peers.policy_settings import bypass_from, wire_actor
from services.identity.policy_words import Actor, Bypass

if TYPE_CHECKING:
    from countersign.policy.v1.policy_pb2_grpc import PolicyAsyncStub

_SECONDS = 1.5


class PolicyBypassPeer:
    """On the connection of a `PolicyPeer`, which closes it."""

    def __init__(self, peer: "Peer[PolicyAsyncStub]") -> None:
        self._peer = peer

    async def grant(
        self,
        clinic_id: ClinicId,
        user_id: UserId,
        actor: Actor,
        reason: str,
        *,
        expires_in_minutes: int,
        suspend_factors: bool,
    ) -> Bypass:
        """An unused one before it is dead."""
        request = policy_pb2.GrantBypassRequest(
            clinic_id=clinic_id,
            user_id=user_id,
            actor=wire_actor(actor),
            reason=reason,
            expires_in_minutes=expires_in_minutes,
            suspend_factors=suspend_factors,
        )
        return bypass_from(await self._peer.call(self._peer.stub.GrantBypass, request, _SECONDS))

    async def use(
        self, clinic_id: ClinicId, user_id: UserId, bypass_id: BypassId, session_id: SessionId, address: str
    ) -> Bypass | None:
        """Spends it for this session; None where another session was faster, or it is good no more."""
        request = policy_pb2.UseBypassRequest(
            clinic_id=clinic_id, user_id=user_id, bypass_id=bypass_id, session_id=session_id, address=address
        )
        try:
            return bypass_from(await self._peer.call(self._peer.stub.UseBypass, request, _SECONDS, repeatable=True))
        except ServiceError as error:
            if error.code in (ErrorCode.GONE, ErrorCode.NOT_FOUND):
                return None
            raise

    async def revoke(self, clinic_id: ClinicId, user_id: UserId, actor: Actor) -> Bypass:
        """Revoked where it was unused, else undone. Raises `not-found` where there is neither to do."""
        request = policy_pb2.RevokeBypassRequest(clinic_id=clinic_id, user_id=user_id, actor=wire_actor(actor))
        return bypass_from(await self._peer.call(self._peer.stub.RevokeBypass, request, _SECONDS))

    async def end(self, clinic_id: ClinicId, user_id: UserId, cause: str) -> None:
        """Ends whatever unused bypass the user has."""
        request = policy_pb2.EndBypassRequest(clinic_id=clinic_id, user_id=user_id, cause=cause)
        await self._peer.call(self._peer.stub.EndBypass, request, _SECONDS, repeatable=True)
