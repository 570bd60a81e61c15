"""The operator's command `bypass`. Policy keeps bypasses but knows nobody's e-mail address, and reads no other
service's database; so the command asks identity, which finds the person and grants it here as the operator's."""

import asyncio
import json
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer
from countersign.identity.v1 import operations_pb2
from countersign.identity.v1.operations_pb2_grpc import OperationsStub

from services.common.errors import ServiceError, told_to_operator
from services.common.rpc_client import Peer
from services.policy.settings import PolicySettings

if TYPE_CHECKING:
    from countersign.identity.v1.operations_pb2_grpc import OperationsAsyncStub

_SECONDS = 10.0  # a person waits for it, and nobody's request does
_LIFE_MINUTES = 60


def add_bypass(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def bypass(
        clinic: Annotated[str, typer.Option("--clinic", help="The clinic's short name.")],
        email: Annotated[str, typer.Option(help="The person's e-mail address.")],
        reason: Annotated[str, typer.Option(help="Why; the clinic's administrators read it.")],
        minutes: Annotated[int, typer.Option(help="How long it waits to be used, at most 1440.")] = _LIFE_MINUTES,
        suspend_factors: Annotated[
            bool, typer.Option("--suspend-factors", help="For a stolen phone: stop what it can do, and every session.")
        ] = False,
    ) -> None:
        """Lets a person sign in once without a code, to set up a second factor and do nothing else."""
        settings = PolicySettings.load()
        if not settings.identity_target:
            typer.echo("Set POLICY_IDENTITY_TARGET: only identity knows whose e-mail address that is.", err=True)
            raise typer.Exit(1)
        request = operations_pb2.GrantBypassRequest(
            clinic_slug=clinic,
            email=email,
            reason=reason,
            expires_in_minutes=minutes,
            suspend_factors=suspend_factors,
        )
        try:
            granted = asyncio.run(_grant(settings, request))
        except ServiceError as error:
            typer.echo(told_to_operator(error), err=True)
            raise typer.Exit(1) from None
        answer = {
            "bypass_id": granted.bypass_id,
            "user_id": granted.user_id,
            "expires_at": granted.expires_at.ToDatetime(tzinfo=UTC).isoformat(),
        }
        typer.echo(json.dumps(answer))


async def _grant(
    settings: PolicySettings, request: operations_pb2.GrantBypassRequest
) -> operations_pb2.GrantBypassResponse:
    peer: Peer[OperationsAsyncStub] = Peer(
        lambda channel: OperationsStub(channel), settings.identity_target, "identity", settings.tls_dir
    )
    try:
        return await peer.call(peer.stub.GrantBypass, request, _SECONDS)
    finally:
        await peer.close()
