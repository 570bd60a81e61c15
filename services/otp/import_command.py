"""The operator's command `import`: authenticator secrets of another system from a file; a dry run unless told
otherwise. No secret is ever printed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from services.common import logs
from services.common.clock import SystemClock
from services.common.errors import ServiceError, told_to_operator
from services.common.import_report import ImportReport, lines_of
from services.common.postgres import Database
from services.otp.identity_peer import IdentityPeer
from services.otp.secret_formats import Format, UnusableFile, entries
from services.otp.secret_import import SecretImport
from services.otp.settings import OtpSettings
from services.otp.store.imports import ImportStore
from services.otp.vault import Vault

MakeVault = Callable[[Path, Database], Awaitable[Vault]]


def add_import(app: typer.Typer, make_vault: MakeVault) -> None:
    """Adds the command; `make_vault` makes what seals, once its keyring was found right."""

    @app.command("import")
    def import_secrets(
        file: Annotated[str, typer.Argument(help="The file; - is standard input.")],
        clinic: Annotated[str, typer.Option("--clinic", help="The clinic's short name.")],
        apply: Annotated[bool, typer.Option("--apply", help="Do it. Without: say what would be done.")] = False,
        written_as: Annotated[
            Format | None, typer.Option("--format", help="How the file is written; without, its first line tells.")
        ] = None,
        domain: Annotated[str, typer.Option(help="What is behind the @ of whom the file knows by a name.")] = "",
    ) -> None:
        """Takes authenticator secrets over, so that staff keep their apps; says of each line what became of it."""
        settings = OtpSettings.load()
        if not settings.identity_target:
            typer.echo("Set OTP_IDENTITY_TARGET: only identity knows whose an e-mail address is.", err=True)
            raise typer.Exit(1)
        logs.configure("otp", settings.log_level)
        report = ImportReport()

        async def act() -> None:
            async with _connected(settings, make_vault) as importing:
                found = entries(lines_of(file), written_as)
                async for result in importing.run(clinic, found, is_applied=apply, domain=domain):
                    report.add(result)

        try:
            asyncio.run(act())
        except UnusableFile as unusable:
            typer.echo(str(unusable), err=True)
            raise typer.Exit(1) from None
        except ServiceError as error:
            typer.echo(told_to_operator(error), err=True)
            raise typer.Exit(1) from None
        report.end(is_applied=apply)


@asynccontextmanager
async def _connected(settings: OtpSettings, make_vault: MakeVault) -> AsyncIterator[SecretImport]:
    database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
    identity = IdentityPeer(settings.identity_target, settings.tls_dir)
    await database.open()
    try:
        vault = await make_vault(settings.keyring_file, database)
        yield SecretImport(ImportStore(database), identity, vault, SystemClock())
    finally:
        await identity.close()
        await database.close()
