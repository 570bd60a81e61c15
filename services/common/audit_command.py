"""The operator's command `verify-audit`, the same in every service. It only reads, so it leaves no event of its own."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from services.common import logs
from services.common.audit_check import ChainCheck, KnownHead
from services.common.errors import ServiceError
from services.common.postgres import Database
from services.common.settings import ServiceSettings

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-fA-F]{64})")


def add_verify_audit(app: typer.Typer, service: str, load: Callable[[], ServiceSettings]) -> None:
    """Adds the command. `load` reads the settings of the service, whose application role only reads here."""

    @app.command("verify-audit")
    def verify_audit(
        head: Annotated[
            list[str] | None,
            typer.Option(help="POSITION:HASH, as logged hourly (audit_head) or told by an earlier run; repeatable."),
        ] = None,
    ) -> None:
        """Walks the sealed audit trail; names what was edited, removed or inserted, and then exits with 1."""
        heads = [_head(text) for text in head or []]
        settings = load()
        logs.configure(service, "ERROR")
        try:
            findings = asyncio.run(_check(settings, service, heads))
        except ServiceError as error:
            typer.echo(f"{error.detail} (no answer from {error.members.get('away')})", err=True)
            raise typer.Exit(2) from None
        if findings:
            raise typer.Exit(1)


async def _check(settings: ServiceSettings, service: str, heads: Sequence[KnownHead]) -> int:
    database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
    await database.open()
    count = 0
    try:
        check = ChainCheck(database, service)
        async for found in check.findings(heads):
            count += 1
            typer.echo(found)
    finally:
        await database.close()
    wrong = {0: "nothing is wrong", 1: "1 finding"}.get(count, f"{count} findings")
    typer.echo(f"{service}: {check.position} events sealed; {wrong}; head {check.position}:{check.hash.hex()}")
    return count


def _head(text: str) -> KnownHead:
    found = _HEAD.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter("a head is POSITION:HASH, the hash being 64 hexadecimal digits", param_hint="--head")
    return KnownHead(int(found[1]), found[2].lower())
