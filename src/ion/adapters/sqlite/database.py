"""One SQLite database, shared by the ledger, the bus and the documents of a store.

There is one writer a process: `write` queues a piece of work, and all that queued while another batch ran, or in the
same two turns of the event loop, goes into one transaction. So a hundred concurrent callers share one commit. Where one
fails, all of it is undone and each is written again by itself, so that only the one that fails is told.

The transaction runs in the event loop's own thread: it takes tens of microseconds, while handing it to another thread
costs as much again, and up to the interpreter's 5 ms switch interval under load. With `synchronous="full"` each commit
waits for the disk, so there it runs in one thread of its own and reads use a connection of their own.

In the loop nothing may wait for another process's lock. A busy database is tried again after a short random pause,
and a process that has written for a while beside others pauses too, so that they all get on.
"""

import asyncio
import random
import sqlite3
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from ion.adapters.sqlite.filesystem import refuse_network
from ion.adapters.sqlite.holder import named
from ion.adapters.sqlite.migrations import migrate
from ion.adapters.sqlite.translation import BusyError, translated
from ion.adapters.sqlite.wakeup import Wakeup
from ion.errors import UnavailableError, UnsupportedError
from ion.ports.ledger import Changes, Listener

T = TypeVar("T")

_PATIENCE_S = 5.0
_PAUSE_S = (0.0005, 0.003)
_TURN_S = 0.02
_BATCH_MOST = 64
_PRAGMAS = (
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -32000",
    # Each checkpoint waits for the disk, and writes a page once however often it changed since the last.
    "PRAGMA wal_autocheckpoint = 8000",
    "PRAGMA journal_size_limit = 33554432",
)


class _Pending(msgspec.Struct, eq=False):
    """A queued write: its future resolves after the commit."""

    work: Callable[[sqlite3.Connection], Any]
    changes: Changes | None
    wakes: Callable[[Any], Changes] | None
    future: asyncio.Future[Any]
    outcome: Any = None
    error: Exception | None = None

    def news(self) -> int:
        """What listeners are to hear of it, as the value of `Changes`."""
        if self.error is not None:
            return 0
        changes = 0 if self.changes is None else self.changes.value
        return changes if self.wakes is None else changes | self.wakes(self.outcome).value

    def resolve(self) -> None:
        if self.future.done():  # its caller was cancelled meanwhile
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.outcome)


class Database:
    """An open database; open it once a process and hand it to the ledger, the bus and the documents.

    Args:
        path: The file; None for a database in memory, which lives as long as this object is open.
        synchronous: "normal" survives the death of any process; "full" also a power cut, and is slower.
        clock: Seconds since the epoch; the clock of everything stored here.
    """

    def __init__(
        self, path: Path | None, *, synchronous: str = "normal", clock: Callable[[], float] = time.time
    ) -> None:
        self.path = None if path is None else path.resolve()
        self.store = f"memory:{uuid.uuid4()}" if self.path is None else str(self.path)
        self._synchronous = synchronous
        self._clock = clock
        self._wakeup = Wakeup(self.path)
        self._queue: list[_Pending] = []
        self._drainer: asyncio.Task[None] | None = None
        self._turn_began = self._turn_last = 0.0
        self._thread: ThreadPoolExecutor | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Opens the file, or makes it, and brings its schema up to date.

        Raises:
            UnsupportedError: it lies on a network file system, or a newer Ion or another program wrote it.
            UnavailableError: it cannot be opened or written; the message says what to do.
        """
        if self.path is not None:
            refuse_network(self.path)
            self._make_folder(self.path.parent)
        try:
            self._writer = self._reader = await self._patiently(self._opened)
            if self._synchronous == "full" and self.path is not None:
                self._reader = await self._patiently(self._opened)
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="ion-sqlite")
            self._wakeup.open()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes what is queued, then closes."""
        while self._queue or self._drainer is not None:
            self._begin()
            if self._drainer is not None:
                await self._drainer
        self._close()

    @property
    def writing(self) -> bool:
        """Whether something is queued or being written, which no read sees and the next write does."""
        return bool(self._queue) or self._drainer is not None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def listen(self, kinds: Changes) -> AbstractAsyncContextManager[Listener]:
        """News of these kinds, from this process and others; see `ion.ports.ledger.Ledger.listen`."""
        return self._wakeup.listen(kinds)

    async def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        changes: Changes | None = None,
        wakes: Callable[[T], Changes] | None = None,
    ) -> T:
        """Runs `work` in a transaction, durable when this returns.

        Args:
            work: Synchronous and short. It may run more than once, each time on a state without its own changes. What
                it raises undoes its changes alone and comes out here.
            changes: What listeners are told after the commit.
            wakes: The same, where it depends on the result.

        Raises:
            UnavailableError: the database stayed locked for 5 s, or its disk is full or broken; nothing was changed.
        """
        self._connection(self._writer)
        pending = _Pending(work, changes, wakes, asyncio.get_running_loop().create_future())
        self._queue.append(pending)
        if len(self._queue) == 1 and self._drainer is None:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._begin)
        result: T = await pending.future
        return result

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a short read at once, on what is committed. Each statement in it sees a state of its own."""
        connection = self._connection(self._reader)
        with translated(self.store):
            try:
                return work(connection)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            # Another process is recovering or closing the file: rare, and over in milliseconds.
            connection.execute("PRAGMA busy_timeout = 1000")
            try:
                return work(connection)
            finally:
                connection.execute("PRAGMA busy_timeout = 0")

    # ---- opening ----------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            ":memory:" if self.path is None else self.path,
            timeout=0.0,
            isolation_level=None,
            check_same_thread=False,  # with "full" the writing thread uses it, one at a time
            cached_statements=256,
        )
        try:
            self._set_up(connection)
            migrate(connection, self.store)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if self.path is not None and mode != "wal":
            raise UnsupportedError(f"the disk of {self.path} cannot share memory between processes; use another")
        for pragma in _PRAGMAS:
            connection.execute(pragma).fetchall()
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._synchronous == 'full' else 'NORMAL'}")

    def _close(self) -> None:
        self._wakeup.close()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()  # twice is harmless where both are one
        self._writer = self._reader = None

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnavailableError(f"the store's folder {folder} cannot be made ({error.strerror})") from error

    def _connection(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise UnavailableError(f"the database {self.store} is not open; open it with `async with`")
        return connection

    # ---- writing ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Writes what is queued: at once if that can be, else in a task that waits for other processes or the disk."""
        if self._drainer is not None or not self._queue:
            return
        if self._thread is None and len(self._queue) <= _BATCH_MOST and not self._overdue():
            batch = [pending for pending in self._queue if not pending.future.done()]
            written = False
            with suppress(Exception), translated(self.store):  # what it is comes again in the task, and is told there
                self._transact(batch)
                written = True
            if written:
                self._queue.clear()
                self._told(batch)
                return
        self._drainer = asyncio.create_task(self._drain(), name="ion-sqlite-writer")

    async def _drain(self) -> None:
        try:
            while self._queue:
                if self._overdue():
                    await asyncio.sleep(_PAUSE_S[1])
                    self._turn_began = self._turn_last = time.monotonic()
                batch, self._queue = self._queue[:_BATCH_MOST], self._queue[_BATCH_MOST:]
                await self._commit([pending for pending in batch if not pending.future.done()])
                await asyncio.sleep(0)
        finally:
            self._drainer = None

    async def _commit(self, batch: list[_Pending]) -> None:
        try:
            await self._patiently(lambda: self._transact(batch), self._thread)
        except Exception as error:  # noqa: BLE001  it is not lost: its caller gets it
            if len(batch) > 1 and not isinstance(error, BusyError):
                for pending in batch:
                    await self._commit([pending])
                return
            for pending in batch:
                pending.error = error
        self._told(batch)

    def _told(self, batch: list[_Pending]) -> None:
        news = 0
        for pending in batch:
            news |= pending.news()
            pending.resolve()
        if news:
            self._wakeup.announce(Changes(news))

    async def _patiently(self, step: Callable[[], T], thread: ThreadPoolExecutor | None = None) -> T:
        """Tries again for a while where another process holds the lock."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with translated(self.store):
                    if thread is None:
                        return step()
                    return await asyncio.get_running_loop().run_in_executor(thread, step)
            except BusyError as error:
                if time.monotonic() > give_up:
                    raise named(error, self.path) from error.__cause__
            await asyncio.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  spreads retries, guards nothing

    def _transact(self, batch: list[_Pending]) -> None:
        connection = self._connection(self._writer)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for pending in batch:
                pending.outcome = pending.work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some errors of the disk have ended it
                connection.execute("ROLLBACK")
            raise

    def _overdue(self) -> bool:
        """Whether it is time to leave a gap: SQLite's lock has no queue, and a process that writes without pause would
        starve others that have the file open.
        """
        now = time.monotonic()
        if now - self._turn_last > _PAUSE_S[1]:
            self._turn_began = now
        self._turn_last = now
        return now - self._turn_began > _TURN_S and self._wakeup.shared
