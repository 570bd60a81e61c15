"""Migrations: once each, whole or not at all, one runner at a time, and never edited afterwards."""

import contextlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from deploy.embedded import EmbeddedPostgres
from services.common.migrate import MigrationError, migrate

PASSWORD = "migrations-password"
Fresh = Callable[[], str]


@pytest.fixture
def fresh(postgres: EmbeddedPostgres) -> Fresh:
    """Makes an empty database; answers its owner's URL."""

    def make() -> str:
        name = f"migrations_{secrets.token_hex(4)}"
        with postgres.connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'migrations_owner'").fetchone():
                connection.execute(f"CREATE ROLE migrations_owner LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"CREATE DATABASE {name} OWNER migrations_owner")
        return postgres.url(name, "migrations_owner")

    return make


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, password=PASSWORD) as connection:
        return connection.execute(sql.encode()).fetchall()


def write(folder: Path, name: str, sql: str) -> Path:
    file = folder / name
    file.write_text(sql)
    return file


def test_files_are_applied_in_order_once(fresh: Fresh, tmp_path: Path) -> None:
    url = fresh()
    write(tmp_path, "0002_second.sql", "ALTER TABLE first ADD COLUMN b int; INSERT INTO first VALUES (1, 2);")
    write(tmp_path, "0001_first.sql", "CREATE TABLE first (a int);")
    write(tmp_path, "notes.txt", "not SQL")
    assert migrate(url, PASSWORD, tmp_path) == ["0001_first.sql", "0002_second.sql"]
    assert migrate(url, PASSWORD, tmp_path) == []
    write(tmp_path, "0003_third.sql", "INSERT INTO first VALUES (3, 4);")
    assert migrate(url, PASSWORD, tmp_path) == ["0003_third.sql"]
    assert query(url, "SELECT a, b FROM first ORDER BY a") == [(1, 2), (3, 4)]


def test_a_file_that_was_applied_and_then_edited_stops_everything(fresh: Fresh, tmp_path: Path) -> None:
    url = fresh()
    first = write(tmp_path, "0001_first.sql", "CREATE TABLE first (a int);")
    migrate(url, PASSWORD, tmp_path)
    first.write_text("CREATE TABLE first (a bigint);")
    write(tmp_path, "0002_second.sql", "CREATE TABLE second (a int);")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed"):
        migrate(url, PASSWORD, tmp_path)
    assert query(url, "SELECT to_regclass('second')") == [(None,)]


def test_a_file_that_fails_leaves_nothing_of_itself_and_what_went_before(fresh: Fresh, tmp_path: Path) -> None:
    url = fresh()
    write(tmp_path, "0001_first.sql", "CREATE TABLE first (a int);")
    broken = write(tmp_path, "0002_broken.sql", "CREATE TABLE half (a int); SELECT 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, PASSWORD, tmp_path)
    assert query(url, "SELECT name FROM schema_migration") == [("0001_first.sql",)]
    assert query(url, "SELECT to_regclass('half')") == [(None,)]
    broken.write_text("CREATE TABLE half (a int);")
    assert migrate(url, PASSWORD, tmp_path) == ["0002_broken.sql"]


@pytest.mark.parametrize("names", [["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"], ["0002_a.sql"]])
def test_numbers_that_leave_a_gap_or_stand_twice_stop_everything(
    fresh: Fresh, tmp_path: Path, names: list[str]
) -> None:
    url = fresh()
    for name in names:
        write(tmp_path, name, "SELECT 1;")
    with pytest.raises(MigrationError, match="stands where number"):
        migrate(url, PASSWORD, tmp_path)


def test_older_code_leaves_a_newer_schema_alone(fresh: Fresh, tmp_path: Path) -> None:
    url = fresh()
    write(tmp_path, "0001_first.sql", "CREATE TABLE first (a int);")
    newer = write(tmp_path, "0002_second.sql", "CREATE TABLE second (a int);")
    migrate(url, PASSWORD, tmp_path)
    newer.unlink()
    assert migrate(url, PASSWORD, tmp_path) == []


def test_of_many_runners_at_once_one_applies_and_the_others_wait(fresh: Fresh, tmp_path: Path) -> None:
    url = fresh()
    write(tmp_path, "0001_slow.sql", "SELECT pg_sleep(1.5); CREATE TABLE once (a int);")
    applied: list[list[str]] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            applied.append(migrate(url, PASSWORD, tmp_path))
        except BaseException as error:
            failed.append(error)

    runners = [threading.Thread(target=run) for _ in range(6)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert failed == []
    assert sorted(applied) == [[]] * 5 + [["0001_slow.sql"]]


def test_a_runner_that_was_killed_leaves_no_lock(fresh: Fresh, tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    url = fresh()
    write(tmp_path, "0001_slow.sql", "SELECT pg_sleep(30);")

    def run_until_cut() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            migrate(url, PASSWORD, tmp_path)

    stuck = threading.Thread(target=run_until_cut)
    stuck.start()
    database = url.split("dbname=")[1].split()[0]
    with postgres.connect("postgres") as connection:
        ended = None
        while not ended:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND query LIKE '%%pg_sleep%%'",
                [database],
            ).fetchone()
    stuck.join()
    write(tmp_path, "0001_slow.sql", "CREATE TABLE quick (a int);")
    assert migrate(url, PASSWORD, tmp_path) == ["0001_slow.sql"]
