"""Applies a service's numbered SQL files, each in one transaction, under an advisory lock. Forward only; a file that
was applied and then edited stops everything."""

import hashlib
from pathlib import Path

import psycopg

from services.common.postgres import conninfo

_LOCK = 0x636F756E  # any number, the same for every runner on this database


class MigrationError(Exception):
    """A migration on record differs from its file, or the files' numbers leave a gap."""


def migrate(url: str, password: str, folder: Path) -> list[str]:
    """Brings the database up to the newest file of `folder` (NNNN_name.sql) and answers the names applied now."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    for number, file in enumerate(files, start=1):
        if int(file.name[:4]) != number:
            raise MigrationError(f"{file.name} stands where number {number:04} should")
    applied_now: list[str] = []
    # Migrations may rightly take longer than a request, so the statement timeout of requests does not hold here.
    with psycopg.connect(conninfo(url, password), autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("SET lock_timeout = 0")  # a second runner waits for the first, however long that takes
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        connection.execute("SET lock_timeout = '30s'")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration"
            " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known: dict[str, str] = dict(connection.execute("SELECT name, checksum FROM schema_migration").fetchall())
        for file in files:
            sql = file.read_text()
            checksum = hashlib.sha256(sql.encode()).hexdigest()
            if file.name in known:
                if known[file.name] != checksum:
                    raise MigrationError(f"{file.name} was changed after it had been applied")
                continue
            with connection.transaction():
                connection.execute(sql)
                connection.execute(
                    "INSERT INTO schema_migration (name, checksum) VALUES (%s, %s)", [file.name, checksum]
                )
            applied_now.append(file.name)
    return applied_now
