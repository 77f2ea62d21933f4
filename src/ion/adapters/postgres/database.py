"""One PostgreSQL schema, shared by the ledger and the documents of a process.

Each verb is one statement, as a rule the call of a function that stands in the schema (`schema_*.py`): one way to the
server and back, one transaction, and inside it every step sees what was committed before it began. Two transactions
that stood in each other's way are tried again; nothing else is, since a lost answer does not tell what happened.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

from ion.adapters.postgres.migrations import migrate
from ion.adapters.postgres.news import News
from ion.adapters.postgres.pool import Pool, connected
from ion.adapters.postgres.settings import PostgresSettings
from ion.adapters.postgres.translation import BusyError, RefusedError, translated
from ion.errors import InvalidError, UnavailableError
from ion.ports.ledger import Changes, Listener

Row = tuple[Any, ...]
_PAUSE_S = (0.002, 0.02)


class Postgres:
    """An open schema; open it once a process and hand it to the ledger and the documents.

    Args:
        settings: Where it is.
        clock: Seconds since the epoch, in place of the server's own clock: for tests.
    """

    def __init__(self, settings: PostgresSettings, *, clock: Callable[[], float] | None = None) -> None:
        self.store = settings.place
        self._settings = settings
        self._clock = clock
        self._pool = Pool(settings)
        self._news = News(settings, self._pool)
        self._open = False

    async def __aenter__(self) -> Self:
        """Makes the schema or brings it up to date, and begins to listen.

        Raises:
            InvalidError: the server refuses, or is not the one that is meant: user, password, database, certificates.
            UnsupportedError: the server or the schema cannot be used by this Ion.
            UnavailableError: the server cannot be reached; the message says what to do.
        """
        try:
            await self._prepare()
            await self._news.open()
        except RefusedError as error:
            raise InvalidError(str(error)) from error
        self._open = True
        return self

    async def _prepare(self) -> None:
        connection = await connected(self._settings, self._settings.timeout_s)
        try:
            with translated(self.store):
                await migrate(connection, self._settings.schema, self.store)
        finally:
            await connection.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        await self._news.close()
        await self._pool.close()

    def clock(self) -> float | None:
        """The time to hand to a function of the schema; None lets it ask the server's clock."""
        return None if self._clock is None else self._clock()

    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        """News of these kinds, from this process and others; see `ion.ports.ledger.Ledger.listen`."""
        return self._news.listen(kinds)

    def announce(self, changes: Changes) -> None:
        """Tells listeners what has been committed."""
        if changes:
            self._news.announce(changes)

    async def run(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """One statement in a transaction of its own; its rows.

        Raises:
            UnavailableError: the server is away or took too long. Where it was away only for the answer, the
                statement may have taken effect.
            InvalidError: a value cannot be stored.
        """
        if not self._open:
            raise UnavailableError(f"{self.store} is not open; open it with `async with`")
        until = asyncio.get_running_loop().time() + self._settings.timeout_s
        while True:
            try:
                async with self._pool.lent(until) as connection:
                    cursor = await connection.execute(statement.encode(), values)
                    return await cursor.fetchall() if cursor.description else []
            except BusyError:
                if asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  spreads retries, guards nothing

    async def once(self, name: str, value: str = "") -> str:
        """What is kept under a name for good: the first value that was given, or empty if none ever was."""
        if value:
            await self.run("INSERT INTO kept (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, value))
        rows = await self.run("SELECT value FROM kept WHERE name = %s", (name,))
        return str(rows[0][0]) if rows else ""
