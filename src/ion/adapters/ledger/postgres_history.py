"""The revisions of modules, and the audit trail; see `ion.ports.ledger_history`."""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ion.adapters.ledger.history import APPLIED, REMOVED, UNKNOWN, kept, past
from ion.adapters.ledger.postgres_verbs import PostgresVerbs
from ion.adapters.ledger.rows import text
from ion.ports.ledger import Entry, Past
from ion.ports.ledger_history import HistoryLedger

_PAGE = 100
_entry = msgspec.json.Decoder(Entry)


class PostgresHistory(PostgresVerbs, HistoryLedger):
    """The part of the PostgreSQL ledger that tells what was."""

    async def revisions(self, module: str) -> AsyncIterator[Past]:
        before = 2**63 - 1
        while rows := await self._database.run(
            "SELECT actions.seq, at, actor, body FROM actions"
            " LEFT JOIN revisions ON module = subject AND action = %s || id"
            " WHERE subject = %s AND (action = %s OR body IS NOT NULL) AND actions.seq < %s"
            " ORDER BY actions.seq DESC LIMIT %s",
            (APPLIED, module, REMOVED, before, _PAGE),
        ):
            for _, at, actor, body in rows:
                yield past(at, actor, body)
            before = rows[-1][0]
        unnoted = await self._database.run(
            "SELECT body FROM revisions WHERE module = %s"
            " AND NOT EXISTS (SELECT 1 FROM actions WHERE subject = module AND action = %s || id)",
            (module, APPLIED),
        )
        for (body,) in unnoted:
            yield past(UNKNOWN, "", body)

    async def note(self, entry: Entry) -> None:
        now = await self._value("SELECT ledger_time(%s)", self._clock)
        await self._database.run("INSERT INTO trail (at, body) VALUES (%s, %s)", (now, text(kept(entry, now))))

    async def trail(self, since: datetime | None, most: int) -> AsyncIterator[Entry]:
        rows = await self._database.run(
            "SELECT body FROM trail WHERE at >= %s ORDER BY at DESC, seq DESC LIMIT %s",
            (0.0 if since is None else since.timestamp(), most),
        )
        for (body,) in reversed(rows):
            yield _entry.decode(body)
