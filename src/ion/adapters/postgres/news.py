"""News of what a transaction changed, to listeners in this process and in others.

Between processes news travels by NOTIFY, on a channel with the schema's name: who sends it and which kinds changed.
It is sent by itself after the change has been committed: a transaction that notifies holds a lock of the whole database
until it is on the disk, so that changes could no longer be written together. What is lost with a process between the
two is time, not a change: whoever listens looks again by himself at times. What comes while a notification is under way
is sent together with the next.

One connection of each process listens. When it breaks it is made again, and then anything may have happened.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ion.adapters.postgres.pool import Connection, Pool, connected
from ion.adapters.postgres.settings import PostgresSettings
from ion.adapters.postgres.translation import translated
from ion.adapters.sqlite.wakeup import LocalListener
from ion.errors import IonError, UnavailableError
from ion.ports.ledger import Changes, Listener

_log = logging.getLogger(__name__)
_ANY = Changes.ANY.value
_GAP_S = 0.005
_AGAIN_S = 1.0


class News:
    """The listeners of one process, its connection that listens, and what it has still to tell."""

    def __init__(self, settings: PostgresSettings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._channel = f"ion_{settings.schema}"
        self._me = uuid.uuid4().hex[:12]
        self._listeners: dict[LocalListener, None] = {}
        self._owed = 0
        self._owing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._line: Connection | None = None

    async def open(self) -> None:
        """Returns when news of others is heard."""
        self._line = await self._listening()
        self._tasks = [
            asyncio.create_task(self._listen(), name="ion-postgres-listener"),
            asyncio.create_task(self._send(), name="ion-postgres-notifier"),
        ]

    async def close(self) -> None:
        """Sends what is owed if the server takes it, then ends."""
        if self._owed:
            try:
                await self._notify()
            except IonError as error:
                _log.debug("news was lost at the end: %s", error)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._line is not None:
            await self._line.close()

    def announce(self, changes: Changes) -> None:
        """Tells listeners everywhere; never blocks."""
        self._tell(changes.value)
        self._owed |= changes.value
        self._owing.set()

    @asynccontextmanager
    async def listen(self, kinds: Changes) -> AsyncIterator[Listener]:
        listener = LocalListener(kinds)
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            del self._listeners[listener]

    def _tell(self, changes: int) -> None:
        for listener in self._listeners:
            listener.tell(changes)

    # ---- sending ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._owing.wait()
            try:
                await self._notify()
            except UnavailableError as error:
                _log.debug("news waits: %s", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(_GAP_S)

    async def _notify(self) -> None:
        self._owing.clear()
        news, self._owed = self._owed, 0
        try:
            async with self._pool.lent() as connection:
                # One message, so one transaction; nobody has to wait until a hint is on the disk.
                await connection.execute(
                    f"SET LOCAL synchronous_commit = off; NOTIFY {self._channel}, '{self._me} {news}'".encode(),
                    prepare=False,
                )
        except BaseException:
            self._owed |= news
            self._owing.set()
            raise

    # ---- hearing ----------------------------------------------------------------------------------------------

    async def _listening(self) -> Connection:
        connection = await connected(self._settings, self._settings.timeout_s)
        try:
            with translated(self._settings.place):
                await connection.execute(f"LISTEN {self._channel}".encode())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _listen(self) -> None:
        while True:
            try:
                with translated(self._settings.place):
                    await self._hear(self._line)
            except UnavailableError as error:
                _log.warning("the ledger's news are not heard, and looked for instead: %s", error)
            await self._again()
            _log.info("%s is back", self._settings.place)
            self._tell(_ANY)

    async def _hear(self, line: Connection | None) -> None:
        if line is None:
            return
        async for notice in line.notifies():
            sender, _, changes = notice.payload.partition(" ")
            if sender != self._me and changes.isdecimal():
                self._tell(int(changes) & _ANY)

    async def _again(self) -> None:
        """Returns with a new connection that listens."""
        if self._line is not None:
            await self._line.close()
            self._line = None
        while self._line is None:
            await asyncio.sleep(_AGAIN_S)
            try:
                self._line = await self._listening()
            except UnavailableError as error:
                _log.debug("still away: %s", error)
