"""The operator's command `bypass`: one sign-in without a code, for a clinic without a working administrator."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import typer

from services.identity.bypasses import LIFE_MINUTES, Grant
from services.identity.commands import run_with
from services.identity.gateway import Gateway

WithGateway = Callable[[], AbstractAsyncContextManager[Gateway]]


def add_bypass(app: typer.Typer, with_gateway: WithGateway) -> None:
    """Adds the command; `with_gateway` connects, and closes afterwards."""

    @app.command()
    def bypass(
        clinic: Annotated[str, typer.Option("--clinic", help="The clinic's short name.")],
        email: Annotated[str, typer.Option(help="The person's e-mail address.")],
        reason: Annotated[str, typer.Option(help="Why; the clinic's administrators read it.")],
        minutes: Annotated[int, typer.Option(help="How long it waits to be used, at most 1440.")] = LIFE_MINUTES,
        suspend_factors: Annotated[
            bool, typer.Option("--suspend-factors", help="For a stolen phone: stop what it can do, and every session.")
        ] = False,
    ) -> None:
        """Lets a person sign in once without a code, to set up a second factor and do nothing else."""

        async def act(gateway: Gateway) -> dict[str, Any]:
            granted = await gateway.operator_bypass.grant(clinic, email, Grant(reason, minutes, suspend_factors))
            return {
                "bypass_id": granted.id,
                "user_id": granted.user_id,
                "expires_at": granted.expires_at.isoformat(),
            }

        run_with(with_gateway, act)
