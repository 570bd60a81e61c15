"""PostgreSQL: one small pool a process. A connection that died while idle costs one retry, and only before anything was
sent in its transaction; whatever else goes wrong with the server is `unavailable`."""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from services.common.errors import unavailable

Connection = AsyncConnection[DictRow]

_LOCK_TIMEOUT_MS = 1000  # waiting longer for an account's row ends in 503 (security.md)
_STATEMENT_TIMEOUT_MS = 5000
_IDLE_TIMEOUT_MS = 4000  # a process that stands still in mid-transaction must not hold up all others at its locks (F02)
_LONGEST_HOLD_SECONDS = 3.0  # a server that hangs keeps none of its own timeouts; nobody waits longer than this (F02)


def conninfo(url: str, password: str) -> str:
    """libpq's connection string with the password and this house's timeouts."""
    return psycopg.conninfo.make_conninfo(
        url,
        password=password,
        connect_timeout=3,
        tcp_user_timeout=5000,
        options=f"-c lock_timeout={_LOCK_TIMEOUT_MS} -c statement_timeout={_STATEMENT_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={_IDLE_TIMEOUT_MS} -c timezone=UTC",
    )


class Database:
    """A service's own database, through its application role."""

    def __init__(self, url: str, password: str, pool_size: int = 8) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo(url, password),
            connection_class=AsyncConnection[DictRow],
            kwargs={"autocommit": True, "row_factory": dict_row},
            min_size=1,
            max_size=pool_size,
            timeout=2.0,
            # The pool doubles its wait after each failure until this is over; then the next caller begins anew. Kept
            # short, so that after an hour's outage the first connection comes as soon as after a second's.
            reconnect_timeout=2.0,
            max_idle=60.0,
            open=False,
        )

    async def open(self) -> None:
        """Starts the pool; does not wait for the server, which may come later."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction, committed on leaving the block. Raises `unavailable` where the server cannot serve it."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A live connection in autocommit mode, for a single statement or a pipelined transaction of one's own."""
        try:
            async with self._pool.connection() as connection:
                if await _is_alive(connection):
                    with _cut_after(_LONGEST_HOLD_SECONDS, connection):
                        yield connection
                    return
            await self._pool.check()
            async with self._pool.connection() as connection:
                with _cut_after(_LONGEST_HOLD_SECONDS, connection):
                    yield connection
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout, PoolTimeout) as error:
            raise unavailable("database") from error

    async def ping(self) -> None:
        """Raises `unavailable` unless the server answers."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")


@contextlib.contextmanager
def _cut_after(seconds: float, connection: Connection) -> Iterator[None]:
    """Ends the connection where the block takes longer: its statement fails as if the server had gone away. Not by
    cancelling, for then psycopg asks the server to cancel, which hangs, and waits for its answer."""
    cut = asyncio.get_running_loop().call_later(seconds, _shut_down, connection)
    try:
        yield
    finally:
        cut.cancel()


def _shut_down(connection: Connection) -> None:
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as same_socket,
    ):
        same_socket.shutdown(socket.SHUT_RDWR)


async def _is_alive(connection: Connection) -> bool:
    """Whether the socket still stands, without a round trip: a server that went away has closed it."""
    if connection.closed or connection.broken:
        return False
    try:
        watched = select.poll()  # not select(), which knows no descriptor over 1023
        watched.register(connection.fileno(), select.POLLIN)
        return not watched.poll(0)  # an idle connection has nothing to say but its end
    except (OSError, psycopg.Error):
        return False


def column(row: DictRow | None, name: str) -> Any:
    """The named column of a row that must be there."""
    if row is None:
        raise LookupError(f"no row to read {name} from")
    return row[name]
