"""The database's pool: small, and back at work by itself after the server was away."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg_pool.base import AttemptWithBackoff

from deploy.embedded import EmbeddedPostgres
from services.common.errors import ErrorCode, ServiceError
from services.common.postgres import Database, column, conninfo


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, to be killed."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own") / "data", "superuser-password")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def database(own_postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    """Closed whatever happens: a pool left open would hold up the end of the run."""
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password", 4)
    await database.open()
    yield database
    await database.close()


async def answers(database: Database) -> int:
    async with database.connection() as connection:
        row = await (await connection.execute("SELECT 42 AS answer")).fetchone()
    return int(column(row, "answer"))


async def test_f07_one_retry_finds_the_server_that_was_killed_and_came_back(
    own_postgres: EmbeddedPostgres, database: Database
) -> None:
    assert await asyncio.gather(*(answers(database) for _ in range(20))) == [42] * 20
    own_postgres.kill()
    own_postgres.start()
    for _ in range(10):  # a server that recovers may close what it has just accepted
        with own_postgres.connect("postgres") as connection:
            connection.execute("SELECT 1")
        await asyncio.sleep(0.05)
    assert await answers(database) == 42, "nobody sees a connection that died while idle"
    assert await asyncio.gather(*(answers(database) for _ in range(20))) == [42] * 20


async def test_f07_while_the_server_is_away_every_call_says_so_and_soon(
    own_postgres: EmbeddedPostgres, database: Database
) -> None:
    assert await answers(database) == 42
    own_postgres.kill()
    began = time.monotonic()
    refusals = await asyncio.gather(*(answers(database) for _ in range(20)), return_exceptions=True)
    assert time.monotonic() - began < 5
    for refused in refusals:
        assert isinstance(refused, ServiceError)
        assert (refused.code, refused.members["away"]) == (ErrorCode.UNAVAILABLE, "database")
    own_postgres.start()
    await _back_within(database, 3)


async def test_f02_a_server_that_hangs_keeps_nobody_for_longer_than_three_seconds(
    own_postgres: EmbeddedPostgres,
) -> None:
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password", 4)
    await database.open()
    assert await asyncio.gather(*(answers(database) for _ in range(20))) == [42] * 20
    pids = [own_postgres.pid]
    pids += [int(pid) for pid in Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        refusals = await asyncio.gather(*(answers(database) for _ in range(8)), return_exceptions=True)
        assert time.monotonic() - began < 4.5
        assert [getattr(refused, "code", refused) for refused in refusals] == [ErrorCode.UNAVAILABLE] * 8
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await _back_within(database, 3)
    await database.close()


async def test_p19_after_a_long_outage_the_way_back_is_as_short_as_after_a_brief_one(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool doubles its wait between tries, and left alone would still be waiting long after the server is back.
    Here its second wait is already as long as it would be after a minute's outage."""
    monkeypatch.setattr(AttemptWithBackoff, "DELAY_BACKOFF", 60.0)
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password", 4)
    await database.open()
    assert await answers(database) == 42
    own_postgres.kill()
    ends_at = time.monotonic() + 3
    while time.monotonic() < ends_at:
        with pytest.raises(ServiceError):
            await answers(database)
    own_postgres.start()
    await _back_within(database, 8)
    await database.close()


async def test_a_pool_may_open_before_there_is_a_server(own_postgres: EmbeddedPostgres) -> None:
    own_postgres.kill()
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password")
    await database.open()
    with pytest.raises(ServiceError):
        await database.ping()
    own_postgres.start()
    await _back_within(database, 3)
    await database.close()


async def test_a_connection_that_the_server_closed_in_mid_transaction_is_not_retried(
    own_postgres: EmbeddedPostgres,
) -> None:
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password")
    await database.open()
    runs = 0

    async def end_oneself() -> None:
        nonlocal runs
        async with database.transaction() as connection:
            runs += 1
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(ServiceError) as refused:
        await end_oneself()
    assert (refused.value.code, runs) == (ErrorCode.UNAVAILABLE, 1)
    assert await answers(database) == 42
    await database.close()


async def test_a_transaction_is_whole_or_nothing(own_postgres: EmbeddedPostgres) -> None:
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password")
    await database.open()
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS whole (a int)")
    with contextlib.suppress(RuntimeError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO whole VALUES (1)")
            raise RuntimeError
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO whole VALUES (2)")
    async with database.connection() as connection:
        rows = await (await connection.execute("SELECT a FROM whole")).fetchall()
    assert [row["a"] for row in rows] == [2]
    await database.close()


async def test_waiting_for_a_locked_row_ends_in_unavailable(own_postgres: EmbeddedPostgres) -> None:
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password")
    await database.open()
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS locked (a int)")
        await connection.execute("INSERT INTO locked VALUES (1)")
    async with database.transaction() as holder:
        await holder.execute("SELECT * FROM locked FOR UPDATE")
        began = time.monotonic()
        with pytest.raises(ServiceError) as refused:
            async with database.transaction() as waiter:
                await waiter.execute("SELECT * FROM locked FOR UPDATE")
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert 0.8 < time.monotonic() - began < 3
    await database.close()


async def test_a_mistake_in_a_statement_is_not_taken_for_an_outage(own_postgres: EmbeddedPostgres) -> None:
    database = Database(own_postgres.url("postgres", "postgres"), "superuser-password")
    await database.open()
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with database.connection() as connection:
            await connection.execute("SELECT * FROM nowhere")
    await database.close()


def test_a_row_that_must_be_there_is_missed_aloud() -> None:
    with pytest.raises(LookupError):
        column(None, "answer")


async def _back_within(database: Database, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while True:
        try:
            assert await answers(database) == 42
            return
        except ServiceError:
            assert time.monotonic() < ends_at, f"not back after {seconds} s"


def test_f02_a_process_that_stands_still_in_a_transaction_holds_its_locks_for_seconds_only(
    own_postgres: EmbeddedPostgres,
) -> None:
    """A client's own clock stands still with it, so the server ends the transaction."""
    url, password = own_postgres.url("postgres", "postgres"), "superuser-password"
    take = "SELECT pg_advisory_xact_lock(7)"
    with contextlib.closing(psycopg.connect(conninfo(url, password))) as frozen:
        frozen.execute(take)
        began = time.monotonic()
        with psycopg.connect(conninfo(url, password), autocommit=True) as other:
            while True:
                try:
                    other.execute(take)
                    break
                except psycopg.errors.LockNotAvailable:
                    assert time.monotonic() - began < 15
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            frozen.execute("SELECT 1")
