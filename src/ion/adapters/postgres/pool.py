"""A few connections to one server, made when they are needed.

The one used last is lent first, so that a quiet process keeps few of them busy. A connection that the server has closed
meanwhile is told by its socket, without asking the server, and another takes its place: after an outage the first
statement works again.

A statement that takes longer than it may is ended by shutting the connection's socket: the client would else wait for
an answer, and for that to its request to cancel it, from a server that has stopped answering at all.
"""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from ion.adapters.postgres.settings import PostgresSettings
from ion.adapters.postgres.translation import translated
from ion.errors import UnavailableError

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

SESSION = (
    # Every statement finds its rows by an index, those of a join one by one; a table too new for true statistics must
    # not be read whole.
    "SELECT set_config('search_path', %s, false), set_config('enable_seqscan', 'off', false),"
    " set_config('enable_bitmapscan', 'off', false), set_config('enable_hashjoin', 'off', false),"
    " set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false),"
    # What is right for one value is right for all, so no statement needs to be planned anew for each.
    " set_config('plan_cache_mode', 'force_generic_plan', false),"
    " set_config('statement_timeout', %s, false), set_config('idle_in_transaction_session_timeout', '60000', false)"
)

_SERVER_SHARE = 0.9
"""The server gives a statement up a little earlier than its caller does, so that it is not left there at work."""


class Pool:
    """At most `settings.pool_size` connections."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(settings.pool_size)
        self._closed = False

    @asynccontextmanager
    async def lent(self, until: float | None = None) -> AsyncIterator[Connection]:
        """A connection for one statement or transaction, closed where it is left in the middle of one.

        Args:
            until: By the loop's clock, when it is taken away; by default after the time limit.

        Raises:
            UnavailableError: none came free, or none could be made, or what was done on it took too long.
        """
        place, limit_s = self._settings.place, self._settings.timeout_s
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s if until is None else until
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise UnavailableError(f"{place} keeps {self._settings.pool_size} connections busy; try again") from None
        try:
            connection = self._reused() or await connected(self._settings, until - loop.time())
            try:
                with within(connection, until), translated(place):
                    yield connection
            except UnavailableError as error:
                if loop.time() >= until:
                    raise UnavailableError(f"{place} did not answer within {limit_s:g} s; try again") from error
                raise
            finally:
                await self._returned(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Closes those that nobody uses; one that is lent is closed when it comes back."""
        self._closed = True
        for connection in self._idle:
            await connection.close()
        self._idle.clear()

    def _reused(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and not _stale(connection):
                return connection
            connection.pgconn.finish()
        return None

    async def _returned(self, connection: Connection) -> None:
        if self._closed or connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append(connection)


async def connected(settings: PostgresSettings, limit_s: float) -> Connection:
    """A connection with Ion's session settings, which commits each statement by itself.

    Raises:
        RefusedError: the server, or this client, will not until something is set right.
        UnavailableError: there is no server, or this took longer than `limit_s` seconds.
    """
    try:
        async with asyncio.timeout(limit_s):
            with translated(settings.place):
                return await _connected(settings)
    except TimeoutError:
        raise UnavailableError(f"{settings.place} did not answer within {settings.timeout_s:g} s; try again") from None


async def _connected(settings: PostgresSettings) -> Connection:
    connection: Connection = await psycopg.AsyncConnection.connect(
        host=settings.host,
        port=settings.port,
        dbname=settings.database,
        user=settings.user,
        password=settings.password or None,
        sslmode=settings.sslmode,
        sslrootcert=settings.ca or ("system" if settings.sslmode == "verify-full" else None),
        sslcert=settings.cert or None,
        sslkey=settings.key or None,
        application_name="ion",
        client_encoding="utf8",
        # A host that has vanished is noticed within half a minute, also where nothing is sent.
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        autocommit=True,
        prepare_threshold=0,
    )
    try:
        await connection.execute(SESSION, (settings.schema, str(int(settings.timeout_s * _SERVER_SHARE * 1000))))
    except BaseException:
        await connection.close()
        raise
    return connection


@contextmanager
def within(connection: Connection, until: float) -> Iterator[None]:
    """Shuts the connection's socket at `until`, by the loop's clock; whoever waits for an answer is told at once."""
    timer = asyncio.get_running_loop().call_at(until, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    if connection.closed:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)  # it may be gone already


def _stale(connection: Connection) -> bool:
    """Whether the server has something to say on an idle connection: that it is closed, as a rule."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
