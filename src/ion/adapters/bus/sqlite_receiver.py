"""A group's receiver in SQLite: takes free deliveries in the order of publication, and gives back what it held.

A claim marks deliveries with the receiver and the number of the call. An acknowledgement or a release must name both,
so it does nothing to a delivery that went to somebody else meanwhile. A `receive` that is cancelled may or may not have
claimed; its call is remembered, and the next one gives back whatever it took.
"""

import asyncio
import json
import math
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from ion.adapters.sqlite.database import Database
from ion.errors import InvalidError
from ion.messaging import codec
from ion.ports.bus import Delivery, Receiver
from ion.ports.ledger import Changes, Listener

STEP = 500
"""Rows that one transaction touches at most: a few milliseconds, so that nobody waits long for the database."""
LOOK_AGAIN_S = 2.0
"""How long a wait lasts before the receivers' locks are looked at again: a death makes no news."""

_FRESH = """
SELECT seq FROM bus_deliveries
WHERE subscriber = ? AND topic = ? AND receiver IS NULL AND due = 0 ORDER BY seq LIMIT ?
"""
_DELAYED = """
SELECT seq FROM bus_deliveries
WHERE subscriber = ? AND topic = ? AND receiver IS NULL AND due > 0 AND due <= ? ORDER BY due LIMIT ?
"""
_NEXT_DUE = "SELECT min(due) FROM bus_deliveries WHERE subscriber = ? AND topic = ? AND receiver IS NULL"
_CLAIM = """
UPDATE bus_deliveries SET receiver = ?, call = ?, tries = tries + 1, due = 0
WHERE subscriber = ? AND seq IN (SELECT value FROM json_each(?)) RETURNING seq, tries
"""
_BODIES = "SELECT seq, raw FROM bus_events WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
_ACK = "DELETE FROM bus_deliveries WHERE seq = ? AND subscriber = ? AND receiver = ? AND call = ?"
_FORGET = """
DELETE FROM bus_events
WHERE seq = ? AND NOT EXISTS (SELECT 1 FROM bus_deliveries WHERE bus_deliveries.seq = bus_events.seq)
"""
_RELEASE = """
UPDATE bus_deliveries SET receiver = NULL, call = NULL, due = ?
WHERE seq = ? AND subscriber = ? AND receiver = ? AND call = ?
"""
_UNDO_CALL = """
UPDATE bus_deliveries SET receiver = NULL, call = NULL, tries = tries - 1 WHERE receiver = ? AND call = ?
"""


class _Token(msgspec.Struct, frozen=True):
    """Which delivery, in the order of the statements' parameters."""

    seq: int
    subscriber: str
    receiver: str
    call: int


class SqliteReceiver(Receiver):
    """An open receiver; made and closed by the bus. One `receive` at a time.

    Args:
        news: Open since before the receiver looked for the first time.
        reclaim: Frees what dead receivers hold.
    """

    def __init__(
        self,
        database: Database,
        *,
        receiver: str,
        subscriber: str,
        topics: Sequence[str],
        news: Listener,
        reclaim: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._subscriber = subscriber
        self._topics = tuple(dict.fromkeys(topics))
        self._news = news
        self._reclaim = reclaim
        self._call = 0
        self._doubtful: list[int] = []

    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait_s
        while most > 0:
            await self._undo_doubtful()
            await self._reclaim()
            due_in_s = self._due_in_s()
            if due_in_s <= 0 and (deliveries := await self._claim(min(most, STEP))):
                return deliveries
            left_s = until - clock()
            if left_s <= 0:
                break
            await self._news.wait(min(left_s, max(due_in_s, 0.0) or left_s, LOOK_AGAIN_S))
        return ()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        tokens = [msgspec.structs.astuple(delivery.token) for delivery in deliveries]
        for start in range(0, len(tokens), STEP):
            await self._database.write(_acking(tokens[start : start + STEP]))

    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        tokens = [msgspec.structs.astuple(delivery.token) for delivery in deliveries]

        def work(connection: sqlite3.Connection) -> None:
            due = self._database.now() + after_s if after_s > 0 else 0.0
            connection.executemany(_RELEASE, [(due, *token) for token in tokens])

        await self._database.write(work, changes=Changes.DUE)

    def _due_in_s(self) -> float:
        """Seconds until the next delivery is due; zero or less: now; infinite: there is none."""

        def work(connection: sqlite3.Connection) -> float:
            found = [connection.execute(_NEXT_DUE, (self._subscriber, topic)).fetchone()[0] for topic in self._topics]
            return min((due for due in found if due is not None), default=math.inf)

        return self._database.read(work) - self._database.now()

    async def _claim(self, most: int) -> Sequence[Delivery]:
        self._call += 1
        call = self._call
        try:
            tries, bodies = await self._database.write(lambda connection: self._claimed(connection, call, most))
        except asyncio.CancelledError:
            self._doubtful.append(call)
            raise
        return [_delivery(raw, tries[seq], _Token(seq, self._subscriber, self._receiver, call)) for seq, raw in bodies]

    def _claimed(
        self, connection: sqlite3.Connection, call: int, most: int
    ) -> tuple[dict[int, int], list[tuple[int, bytes]]]:
        """How often each was delivered, and their bodies in order."""
        found: set[int] = set()
        for topic in self._topics:
            mine = (self._subscriber, topic)
            found.update(seq for (seq,) in connection.execute(_FRESH, (*mine, most)))
            found.update(seq for (seq,) in connection.execute(_DELAYED, (*mine, self._database.now(), most)))
        chosen = json.dumps(sorted(found)[:most])
        tries = dict(connection.execute(_CLAIM, (self._receiver, call, self._subscriber, chosen)).fetchall())
        return tries, connection.execute(_BODIES, (chosen,)).fetchall()

    async def _undo_doubtful(self) -> None:
        """Frees what cancelled calls claimed: nobody was handed it, so it does not count as a try."""
        while self._doubtful:
            mark = (self._receiver, self._doubtful[-1])
            await self._database.write(_undoing(mark), changes=Changes.DUE)
            self._doubtful.pop()


def _acking(tokens: list[tuple[Any, ...]]) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(_ACK, tokens)
        connection.executemany(_FORGET, [token[:1] for token in tokens])

    return work


def _undoing(mark: tuple[str, int]) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(_UNDO_CALL, mark)

    return work


def _delivery(raw: bytes, tries: int, token: _Token) -> Delivery:
    """What another version wrote may not be readable here; it comes with its reason, so that it can be buried."""
    try:
        return Delivery(event=codec.decode(raw), raw=raw, tries=tries, token=token)
    except InvalidError as error:
        return Delivery(event=None, raw=raw, fault=str(error), tries=tries, token=token)
