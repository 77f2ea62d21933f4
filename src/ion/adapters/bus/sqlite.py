"""The bus in SQLite, beside the ledger: topics, groups, and a row for each delivery that a group still has to do.

The memory adapter is this one on a database in memory. Publishing stores an event's body once and a delivery for each
group of its topic; an event without a group is not stored. A group that still has an event pending does not get it
again, so a publication repeated after a failure piles nothing up; but once it is acknowledged its id is forgotten,
which is why the guarantees do not promise de-duplication.

Deliveries of a receiver whose process died are free again as soon as somebody looks (see `ion.adapters.bus.presence`).
"""

import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import product
from types import TracebackType
from typing import Self

from ion.adapters.bus.presence import Presence
from ion.adapters.bus.sqlite_receiver import LOOK_AGAIN_S, STEP, SqliteReceiver
from ion.adapters.sqlite.database import Database
from ion.errors import InvalidError, NotFoundError
from ion.messaging import codec
from ion.model.event import Event
from ion.ports.bus import Bus, BusGuarantees, Receiver
from ion.ports.ledger import Changes

_NEEDED_BY = """
SELECT subscriber FROM bus_subscriptions AS s WHERE topic = ?
AND NOT EXISTS (SELECT 1 FROM bus_deliveries AS d WHERE d.subscriber = s.subscriber AND d.event_id = ?)
"""
_PEEK = """
SELECT raw FROM bus_deliveries CROSS JOIN bus_events USING (seq)
WHERE +subscriber = ? AND +receiver IS NULL ORDER BY bus_deliveries.seq LIMIT ?
"""
_FREE = "UPDATE bus_deliveries SET receiver = NULL, call = NULL WHERE receiver = ?"


class SqliteBus(Bus):
    """A bus on an open database, which the caller closes after it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._presence = Presence(database.path)
        self._active: set[str] = set()
        self._looked_at = -LOOK_AGAIN_S

    @property
    def guarantees(self) -> BusGuarantees:
        return BusGuarantees(
            store=self._database.store,
            durable=self._database.path is not None,
            ordered=True,
            dedupes=False,
            delays=True,
            peeks=True,
            depths=True,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever a receiver could not give back is free once the lock is gone."""
        self._presence.hide()

    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        rows = list(product(topics, groups))

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR IGNORE INTO bus_subscriptions (topic, subscriber) VALUES (?, ?)", rows)

        await self._database.write(work)

    async def publish(self, events: Sequence[Event]) -> None:
        topics = {event.type for event in events}
        heard = self._database.read(lambda connection: {topic for topic in topics if _has_groups(connection, topic)})
        rows = [(event.id, event.type, codec.encode(event)) for event in events if event.type in heard]
        for start in range(0, len(rows), STEP):
            await self._database.write(_publishing(rows[start : start + STEP]), wakes=_due_if)

    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:
        """Raises NotFoundError on entry if `ensure` did not make it."""
        return self._subscribed(topics, group)

    @asynccontextmanager
    async def _subscribed(self, topics: Sequence[str], group: str) -> AsyncIterator[Receiver]:
        receiver, lock = str(uuid.uuid4()), self._presence.show()
        self._active.add(receiver)
        async with self._database.listen(Changes.DUE) as news:
            try:
                await self._database.write(_opening(receiver, lock, topics, group))
                self._looked_at = -LOOK_AGAIN_S
                yield SqliteReceiver(
                    self._database,
                    receiver=receiver,
                    subscriber=group,
                    topics=topics,
                    news=news,
                    reclaim=self._reclaim,
                )
            finally:
                self._active.discard(receiver)
                await self._free([receiver])

    async def depth(self, group: str) -> int:
        query = "SELECT count(*) FROM bus_deliveries WHERE subscriber = ?"
        return int(self._database.read(lambda connection: connection.execute(query, (group,)).fetchone()[0]))

    async def peek(self, group: str, most: int) -> Sequence[Event]:
        """Those that are not in flight. What cannot be decoded is left out; receiving it tells why."""
        rows = self._database.read(lambda connection: connection.execute(_PEEK, (group, most)).fetchall())
        return [event for (raw,) in rows if (event := _decoded(raw)) is not None]

    async def _reclaim(self) -> None:
        """Frees what dead receivers hold; looks at most once in `LOOK_AGAIN_S`."""
        if time.monotonic() - self._looked_at < LOOK_AGAIN_S:
            return
        self._looked_at = time.monotonic()
        query = "SELECT id, lock FROM bus_receivers"
        receivers = self._database.read(lambda connection: connection.execute(query).fetchall())
        gone = {lock for lock in {lock for _, lock in receivers} - {self._presence.name} if self._presence.gone(lock)}
        await self._free(
            [receiver for receiver, lock in receivers if lock in gone or self._is_leftover(receiver, lock)]
        )

    def _is_leftover(self, receiver: str, lock: str) -> bool:
        """Closed here, when the database was away."""
        return lock == self._presence.name and receiver not in self._active

    async def _free(self, receivers: list[str]) -> None:
        def work(connection: sqlite3.Connection) -> int:
            freed = 0
            for receiver in receivers:
                freed += connection.execute(_FREE, (receiver,)).rowcount
                connection.execute("DELETE FROM bus_receivers WHERE id = ?", (receiver,))
            return freed

        if receivers:
            await self._database.write(work, wakes=_due_if)


def _due_if(rows: int) -> Changes:
    return Changes.DUE if rows else Changes(0)


def _publishing(rows: list[tuple[str, str, bytes]]) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        return sum(_publish_one(connection, *row) for row in rows)

    return work


def _has_groups(connection: sqlite3.Connection, topic: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM bus_subscriptions WHERE topic = ? LIMIT 1", (topic,)).fetchone())


def _publish_one(connection: sqlite3.Connection, event_id: str, topic: str, raw: bytes) -> int:
    groups = [group for (group,) in connection.execute(_NEEDED_BY, (topic, event_id))]
    if groups:
        seq = connection.execute("INSERT INTO bus_events (raw) VALUES (?)", (raw,)).lastrowid
        connection.executemany(
            "INSERT INTO bus_deliveries (seq, subscriber, topic, event_id) VALUES (?, ?, ?, ?)",
            [(seq, group, topic, event_id) for group in groups],
        )
    return len(groups)


def _opening(receiver: str, lock: str, topics: Sequence[str], group: str) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        known = {
            topic
            for (topic,) in connection.execute("SELECT topic FROM bus_subscriptions WHERE subscriber = ?", (group,))
        }
        if missing := sorted(set(topics) - known):
            raise NotFoundError(f"the group {group!r} is not subscribed to {missing[0]!r}; call `ensure` first")
        connection.execute("INSERT INTO bus_receivers (id, lock) VALUES (?, ?)", (receiver, lock))

    return work


def _decoded(raw: bytes) -> Event | None:
    try:
        return codec.decode(raw)
    except InvalidError:
        return None
