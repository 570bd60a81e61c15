"""The operator's commands for apps (a key for a machine, printed once; which there are; the end of one and of what it
demanded), and `explain`: why one person is asked, or not let in."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from services.identity.commands import run_with
from services.identity.gateway import Gateway
from services.identity.model import App, Scope
from services.identity.policy_words import Actor

WithGateway = Callable[[], AbstractAsyncContextManager[Gateway]]

_Slug = Annotated[str, typer.Option("--clinic", help="The clinic's short name.")]
_Name = Annotated[str, typer.Option("--name", help="The app's name, once among the clinic's living ones.")]


def add_to(app: typer.Typer, with_gateway: WithGateway) -> None:
    """Adds the commands; `with_gateway` connects, and closes afterwards."""

    @app.command("create-app")
    def create_app(
        clinic: _Slug,
        name: _Name,
        scopes: Annotated[
            list[str], typer.Option("--scopes", help=f"Of {', '.join(Scope)}: with commas, or given several times.")
        ],
    ) -> None:
        """Makes a key for a machine of a clinic; prints it, once."""
        named = [part.strip() for given in scopes for part in given.split(",") if part.strip()]
        unknown = [part for part in named if part not in set(Scope)]
        if unknown:
            typer.echo(f"There is no scope {unknown[0]!r}; there are {', '.join(Scope)}.", err=True)
            raise typer.Exit(1)

        async def act(gateway: Gateway) -> dict[str, Any]:
            made, key = await gateway.apps.create(clinic, name, [Scope(part) for part in named])
            return {**_printed(made), "token": key}

        run_with(with_gateway, act)

    @app.command("list-apps")
    def list_apps(clinic: _Slug) -> None:
        """Lists a clinic's apps, revoked ones too."""

        async def act(gateway: Gateway) -> dict[str, Any]:
            return {"apps": [_printed(one) for one in await gateway.apps.of_clinic(clinic)]}

        run_with(with_gateway, act)

    @app.command("revoke-app")
    def revoke_app(clinic: _Slug, name: _Name) -> None:
        """Ends an app's key, from its next request on; what it has set stays."""

        async def act(gateway: Gateway) -> dict[str, Any]:
            return _printed(await gateway.apps.revoke(clinic, name))

        run_with(with_gateway, act)

    @app.command("end-hold")
    def end_hold(clinic: _Slug, name: Annotated[str, typer.Option("--name", help="The integration's name.")]) -> None:
        """Ends what an integration demands of a clinic, also where an app has set it that is no more."""

        async def act(gateway: Gateway) -> dict[str, Any]:
            of = await gateway.apps.clinic(clinic)
            await gateway.integrations.end(of.id, Actor("operator"), name)
            return {"clinic_id": of.id, "name": name, "ended": True}

        run_with(with_gateway, act)

    @app.command()
    def explain(
        clinic: _Slug,
        email: Annotated[str, typer.Option(help="The person's e-mail address.")],
        record: Annotated[
            Path | None,
            typer.Option(dir_okay=False, help="Adds the decision with its facts to this file, for policy's replay."),
        ] = None,
    ) -> None:
        """Says all that decides how a person gets in: state, decision, factors, sessions, recent events; no secrets."""

        async def act(gateway: Gateway) -> dict[str, Any]:
            said = await gateway.explaining.explain(clinic, email)
            recorded = said.pop("record")
            if record is not None and recorded is not None:
                with record.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(recorded, ensure_ascii=False) + "\n")
            return said

        run_with(with_gateway, act)


def _printed(app: App) -> dict[str, Any]:
    return {
        "app_id": app.id,
        "clinic_id": app.clinic_id,
        "name": app.name,
        "scopes": sorted(app.scopes),
        "created_at": app.created_at.isoformat(),
        "revoked_at": app.revoked_at.isoformat() if app.revoked_at else None,
    }
