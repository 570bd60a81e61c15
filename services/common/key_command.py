"""The operator's commands `rotate-keys` and `keys`, the same in every service that seals. They print ids and counts,
never a key. Exit code 1: refused, or another rotation runs; 2: the database could not be reached."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import typer
from pydantic import SecretStr

from services.common import logs
from services.common.clock import SystemClock
from services.common.key_rotation import AnotherRuns, Refused, Rotation
from services.common.keyring_in_use import examine
from services.common.sealed_columns import RotationStore, SealedColumn
from services.common.sealing import Keyring, SealingError, key_id_of


class KeySettings(Protocol):
    """What the commands need of a service's settings."""

    @property
    def database_url(self) -> str: ...

    @property
    def database_password(self) -> SecretStr: ...

    @property
    def keyring_file(self) -> Path: ...

    @property
    def log_level(self) -> str: ...


def add_key_commands(
    app: typer.Typer, service: str, load: Callable[[], KeySettings], columns: Sequence[SealedColumn], event_kind: str
) -> None:
    """Adds both. `columns`: all that the service seals; `event_kind`: what the audit trail calls a rotation."""

    @app.command("rotate-keys")
    def rotate_keys() -> None:
        """Adds a key to the keyring, rewraps every record under it, and retires the old one. The service goes on.

        It may be stopped at any moment: started again, it goes on.
        """
        settings = load()
        logs.configure(service, settings.log_level)

        def say(line: str) -> None:
            typer.echo(f"{service}: {line}")

        with _store(settings, columns) as store:
            rotation = Rotation(service, settings.keyring_file, store, SystemClock(), event_kind, say)
            try:
                rotated = rotation.run()
            except AnotherRuns:
                raise _refusal(f"{service}: another rotation is running; nothing was done") from None
            except Refused as refused:
                raise _refusal(f"{service}: not rotated: {refused}") from None
        retired = " and ".join(str(key_id) for key_id in rotated.retired)
        say(f"done: {sum(rotated.rewrapped.values()):,} records rewrapped, key {retired} is retired. Save the keyring.")

    @app.command("keys")
    def keys() -> None:
        """Lists the keyring's keys, and how many records each seals; refuses a keyring that is not this database's."""
        settings = load()
        logs.configure(service, "ERROR")
        with _store(settings, columns) as store:
            counts, known = store.counts(), store.checks()
            samples = [] if known else store.samples()
        try:
            keyring = Keyring.load(settings.keyring_file)
            # By numbers alone another database's keyring looks like this one's. What it lacks is listed below.
            held = {key_id: sealed for key_id, sealed in known.items() if key_id in keyring.ids}
            examine(keyring, held, [each for each in samples if key_id_of(each) in keyring.ids], service)
        except SealingError as error:
            raise _refusal(f"{service}: {error}; restore it from your backup") from None
        missing = sorted({*known, *(key_id for by_key in counts.values() for key_id in by_key)} - keyring.ids)
        rows = [["key", "", *counts]]
        for key_id in sorted(keyring.ids.union(missing)):
            state = "missing" if key_id in missing else "active" if key_id == keyring.active else "old"
            rows.append([str(key_id), state, *(f"{by_key[key_id]:,}" for by_key in counts.values())])
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        for row in rows:
            typer.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
        if missing:
            raise _refusal(
                f"{service}: this database's records are sealed under keys that the keyring lacks; restore it from your"
                " backup"
            )


@contextmanager
def _store(settings: KeySettings, columns: Sequence[SealedColumn]) -> Iterator[RotationStore]:
    try:
        with RotationStore(settings.database_url, settings.database_password.get_secret_value(), columns) as store:
            yield store
    except psycopg.OperationalError as error:
        reason = str(error).strip().partition("\n")[0]
        typer.echo(f"The database cannot be reached, or went away ({reason}). Run this again: it goes on.", err=True)
        raise typer.Exit(2) from None


def _refusal(text: str) -> typer.Exit:
    typer.echo(text, err=True)
    return typer.Exit(1)
