"""The operator's commands on the command line. Each prints one JSON line on success; a refusal is a sentence on stderr
and exit code 1, and changes nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeVar

import typer

from services.common.errors import ServiceError, told_to_operator
from services.identity.activations import Link
from services.identity.model import Role
from services.identity.operator import NewClinic, Operator

ConnectedT = TypeVar("ConnectedT")
WithOperator = Callable[[], AbstractAsyncContextManager[Operator]]

_Slug = Annotated[str, typer.Option("--clinic", help="The clinic's short name.")]
_Email = Annotated[str, typer.Option(help="The person's e-mail address.")]


def add_to(app: typer.Typer, with_operator: WithOperator) -> None:
    """Adds the operator's commands; `with_operator` connects, and closes afterwards."""

    def run(act: Callable[[Operator], Awaitable[dict[str, Any]]]) -> None:
        run_with(with_operator, act)

    @app.command("create-clinic")
    def create_clinic(
        slug: Annotated[str, typer.Option(help="Short name, as in the clinic's address: a to z, 0 to 9, hyphens.")],
        name: Annotated[str, typer.Option(help="The name that people see.")],
        timezone: Annotated[str, typer.Option(help="IANA name, such as Europe/Berlin.")],
        country: Annotated[str, typer.Option(help="ISO 3166-1 code, such as DE.")],
        admin_email: Annotated[str, typer.Option(help="The first administrator's e-mail address.")],
        admin_name: Annotated[str, typer.Option(help="The first administrator's name.")],
    ) -> None:
        """Makes a clinic and invites its first administrator; prints the invitation."""

        async def act(operator: Operator) -> dict[str, Any]:
            clinic, user, link = await operator.create_clinic(
                NewClinic(slug, name, timezone, country, admin_email, admin_name)
            )
            return {"clinic_id": clinic.id, "user_id": user.id, **_printed(link)}

        run(act)

    @app.command("reset-password")
    def reset_password(clinic: _Slug, email: _Email) -> None:
        """Offers a person a link to set a new password; prints it."""

        async def act(operator: Operator) -> dict[str, Any]:
            user, link = await operator.reset_password(clinic, email)
            return {"user_id": user.id, **_printed(link)}

        run(act)

    @app.command("set-role")
    def set_role(clinic: _Slug, email: _Email, role: Annotated[Role, typer.Option(help="The new role.")]) -> None:
        """Gives a person another role."""

        async def act(operator: Operator) -> dict[str, Any]:
            user = await operator.set_role(clinic, email, role)
            return {"user_id": user.id, "role": user.role.value}

        run(act)


def run_with(
    connected: Callable[[], AbstractAsyncContextManager[ConnectedT]],
    act: Callable[[ConnectedT], Awaitable[dict[str, Any]]],
) -> None:
    """Acts on what is connected, prints the answer; a refusal is a sentence on stderr and exit code 1."""

    async def within() -> dict[str, Any]:
        async with connected() as what:
            return await act(what)

    try:
        answer = asyncio.run(within())
    except ServiceError as error:
        typer.echo(told_to_operator(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(answer))


def _printed(link: Link) -> dict[str, str]:
    return {
        "activation_url": link.url,
        "activation_token": link.token,
        "activation_expires_at": link.expires_at.isoformat(),
    }
