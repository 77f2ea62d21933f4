"""The revisions of modules, and the audit trail; see `ion.ports.ledger_history`."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial

import msgspec

from ion.adapters.ledger.history import APPLIED, REMOVED, UNKNOWN, kept, past
from ion.adapters.ledger.rows import text
from ion.adapters.sqlite.database import Database
from ion.ports.ledger import Entry, Past
from ion.ports.ledger_history import HistoryLedger

_PAGE = 100
_entry = msgspec.json.Decoder(Entry)


class SqliteHistory(HistoryLedger):
    """The part of the SQLite ledger that tells what was."""

    _database: Database

    async def revisions(self, module: str) -> AsyncIterator[Past]:
        before: int | None = None
        while page := self._database.read(partial(_noted, module=module, before=before)):
            for _, at, actor, body in page:
                yield past(at, actor, body)
            before = page[-1][0]
        for body in self._database.read(lambda db: _unnoted(db, module)):
            yield past(UNKNOWN, "", body)

    async def note(self, entry: Entry) -> None:
        now = self._database.now()
        body = text(kept(entry, now))
        await self._database.write(lambda db: db.execute("INSERT INTO trail (at, body) VALUES (?, ?)", (now, body)))

    async def trail(self, since: datetime | None, most: int) -> AsyncIterator[Entry]:
        start = 0.0 if since is None else since.timestamp()
        place = self._database.read(lambda db: _first_of_last(db, start, most))
        while page := self._database.read(partial(_after, place=place, most=min(most, _PAGE))):
            for *_, body in page:
                yield _entry.decode(body)
            place, most = page[-1][:2], most - len(page)
            await asyncio.sleep(0)


def _noted(
    connection: sqlite3.Connection, module: str, before: int | None
) -> Sequence[tuple[int, float, str, str | None]]:
    """What was done to a module, the latest first; where it was applied, with the revision."""
    return connection.execute(
        "SELECT actions.seq, at, actor, body FROM actions"
        " LEFT JOIN revisions ON module = subject AND action = :applied || id"
        " WHERE subject = :module AND (action = :removed OR body IS NOT NULL)"
        " AND (:before IS NULL OR actions.seq < :before) ORDER BY actions.seq DESC LIMIT :most",
        {"module": module, "before": before, "most": _PAGE, "applied": APPLIED, "removed": REMOVED},
    ).fetchall()


def _unnoted(connection: sqlite3.Connection, module: str) -> Sequence[str]:
    """The revisions of which nothing else is known."""
    rows = connection.execute(
        "SELECT body FROM revisions WHERE module = ?"
        " AND NOT EXISTS (SELECT 1 FROM actions WHERE subject = module AND action = ? || id)",
        (module, APPLIED),
    )
    return [body for (body,) in rows]


def _first_of_last(connection: sqlite3.Connection, start: float, most: int) -> tuple[float, int]:
    """The place before the last `most` lines of those since a time."""
    found = connection.execute(
        "SELECT at, seq FROM trail WHERE at >= ? ORDER BY at DESC, seq DESC LIMIT 1 OFFSET ?", (start, most)
    ).fetchone()
    return (found[0], found[1]) if found else (start, -1)


def _after(connection: sqlite3.Connection, place: tuple[float, int], most: int) -> Sequence[tuple[float, int, str]]:
    return connection.execute(
        "SELECT at, seq, body FROM trail WHERE (at, seq) > (?, ?) ORDER BY at, seq LIMIT ?", (*place, most)
    ).fetchall()
