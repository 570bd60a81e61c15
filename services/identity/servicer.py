"""The identity contract on gRPC. For back ends: who sent a request, by the state machine of the HTTP API; who may call
is the certificate's name, as the settings list them. For the commands of others: policy's bypass, and whom otp's import
is for. Translates, decides nothing.
"""

from collections.abc import Set
from typing import Any

from countersign.identity.v1 import operations_pb2, operations_pb2_grpc, sessions_pb2, sessions_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.rpc_server import Allowed
from services.identity.bypasses import Grant
from services.identity.model import SessionState
from services.identity.operator_bypass import OperatorBypass
from services.identity.operator_lookup import OperatorLookup
from services.identity.sessions import acr_of, expires_at
from services.identity.standing import Standings, refusal_of, unauthenticated

_MOST_TOKEN = 512


def allowed(backends: Set[str]) -> Allowed:
    """Each method with the certificate names that may call it."""
    methods = sessions_pb2.DESCRIPTOR.services_by_name["Sessions"].methods_by_name
    for_backends = {f"/countersign.identity.v1.Sessions/{method}": frozenset(backends) for method in methods}
    return {
        **for_backends,
        "/countersign.identity.v1.Operations/GrantBypass": frozenset({"policy"}),
        "/countersign.identity.v1.Operations/FindUsers": frozenset({"otp"}),
    }


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    def __init__(self, bypass: OperatorBypass, lookup: OperatorLookup) -> None:
        self._bypass = bypass
        self._lookup = lookup

    async def FindUsers(  # noqa: N802
        self, request: operations_pb2.FindUsersRequest, context: Any
    ) -> operations_pb2.FindUsersResponse:
        clinic_id, found = await self._lookup.ids(request.clinic_slug, request.emails)
        return operations_pb2.FindUsersResponse(clinic_id=clinic_id, user_ids=[user_id or "" for user_id in found])

    async def GrantBypass(  # noqa: N802
        self, request: operations_pb2.GrantBypassRequest, context: Any
    ) -> operations_pb2.GrantBypassResponse:
        grant = Grant(request.reason, request.expires_in_minutes, request.suspend_factors)
        granted = await self._bypass.grant(request.clinic_slug, request.email, grant)
        ends = Timestamp()
        ends.FromDatetime(granted.expires_at)
        return operations_pb2.GrantBypassResponse(bypass_id=granted.id, user_id=granted.user_id, expires_at=ends)


class SessionsServicer(sessions_pb2_grpc.SessionsServicer):
    def __init__(self, standings: Standings) -> None:
        self._standings = standings

    async def Authenticate(  # noqa: N802
        self, request: sessions_pb2.AuthenticateRequest, context: Any
    ) -> sessions_pb2.AuthenticateResponse:
        if not 0 < len(request.token) <= _MOST_TOKEN:
            raise unauthenticated()
        signed_in = await self._standings.signed_in(request.token)
        standing = await self._standings.stand(signed_in)
        if standing.state is not SessionState.ACTIVE:
            raise refusal_of(standing)
        session = standing.became or signed_in.session
        if not request.background:
            await self._standings.renew(session)
        authenticated, ends = Timestamp(), Timestamp()
        authenticated.FromDatetime(session.authenticated_at)
        ends.FromDatetime(expires_at(session))
        response = sessions_pb2.AuthenticateResponse(
            user_id=signed_in.user.id,
            clinic_id=signed_in.clinic.id,
            role=signed_in.user.role.value,
            acr=acr_of(session),
            session_id=session.id,
            clinic_slug=signed_in.clinic.slug,
            authenticated_at=authenticated,
            expires_at=ends,
        )
        if session.verified_at is not None:
            response.verified_at.FromDatetime(session.verified_at)
        return response
