"""The operator's command `import-users`: people of another system from a file, a dry run unless told otherwise."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import IO, Annotated

import typer

from services.common import logs
from services.common.clock import SystemClock
from services.common.errors import ServiceError, told_to_operator
from services.common.import_report import ImportReport, lines_of
from services.common.postgres import Database
from services.identity.activations import Link
from services.identity.imported_hashes import ImportedHashes
from services.identity.model import User
from services.identity.settings import IdentitySettings
from services.identity.store.clinics import ClinicStore
from services.identity.store.imports import ImportStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.user_import import UserImport

MakeNumbers = Callable[[IdentitySettings, Database], Awaitable[PhoneNumbers]]


def add_import_users(app: typer.Typer, numbers: MakeNumbers) -> None:
    """Adds the command; `numbers` makes what seals telephone numbers, once its keyring was found right."""

    @app.command("import-users")
    def import_users(
        file: Annotated[str, typer.Argument(help="JSON Lines; - is standard input.")],
        clinic: Annotated[str, typer.Option("--clinic", help="The clinic's short name.")],
        apply: Annotated[bool, typer.Option("--apply", help="Do it. Without: say what would be done.")] = False,
        invitations: Annotated[
            str, typer.Option(help="A new file for the invitations of those who come without a password.")
        ] = "",
    ) -> None:
        """Makes people of another system, with their password hashes; says of each line what became of it.

        A line has email, name and role, and may have phone, password_hash (argon2, bcrypt, PBKDF2) and locale.
        """
        settings = IdentitySettings.load()
        logs.configure("identity", settings.log_level)
        report = ImportReport()
        opened = _new_file(invitations) if invitations and apply else None

        def hand_over(invited: Sequence[tuple[User, Link]]) -> None:
            assert opened is not None
            _write(opened, invited)

        async def act() -> None:
            async with _connected(settings, numbers) as importing:
                lines = lines_of(file)
                there = await importing.clinic(clinic)
                async for result in importing.run(
                    there, lines, is_applied=apply, hand_over=hand_over if opened else None
                ):
                    report.add(result)

        try:
            asyncio.run(act())
        except ServiceError as error:
            typer.echo(told_to_operator(error), err=True)
            raise typer.Exit(1) from None
        finally:
            if opened:
                opened.close()
        report.end(is_applied=apply)


@asynccontextmanager
async def _connected(settings: IdentitySettings, numbers: MakeNumbers) -> AsyncIterator[UserImport]:
    database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
    await database.open()
    try:
        yield UserImport(
            ImportStore(database, await numbers(settings, database)),
            ClinicStore(database),
            ImportedHashes(settings.password_pepper.get_secret_value().encode()),
            SystemClock(),
            settings.public_url,
        )
    finally:
        await database.close()


def _new_file(path: str) -> IO[str]:
    """For its owner alone, and never one that is there: it may hold invitations."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        typer.echo(f"{path} cannot be made ({error.strerror}).", err=True)
        raise typer.Exit(1) from None


def _write(file: IO[str], invited: Sequence[tuple[User, Link]]) -> None:
    """On the disk before the people are: a link that was lost could not be made out again."""
    for user, link in invited:
        told = {"email": user.email, "activation_url": link.url, "activation_expires_at": link.expires_at.isoformat()}
        file.write(json.dumps(told) + "\n")
    file.flush()
    os.fsync(file.fileno())
