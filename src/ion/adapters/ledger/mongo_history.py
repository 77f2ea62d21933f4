"""The revisions of modules, and the audit trail; see `ion.ports.ledger_history`.

What is done to a module is noted after it was done. A note that was lost between the two is made up for by the
revision's own document, which has when it was first applied, and by whom.
"""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ion.adapters.ledger.history import APPLIED, REMOVED, UNKNOWN, kept, past
from ion.adapters.ledger.rows import text
from ion.adapters.mongo.database import Document, MongoDatabase
from ion.adapters.mongo.schema import ACTIONS, IN_TRAIL, REVISIONS, TRAIL
from ion.ports.ledger import Entry, Past
from ion.ports.ledger_history import HistoryLedger

_entry = msgspec.json.Decoder(Entry)


class MongoHistory(HistoryLedger):
    """The part of the MongoDB ledger that tells what was."""

    _database: MongoDatabase

    async def revisions(self, module: str) -> AsyncIterator[Past]:
        for one in await history(self._database, module):
            yield one

    async def note(self, entry: Entry) -> None:
        seq, now = self._database.next_place(), self._database.now()
        await self._database.insert(TRAIL, [{"_id": seq, "seq": seq, "at": now, "body": text(kept(entry, now))}])

    async def trail(self, since: datetime | None, most: int) -> AsyncIterator[Entry]:
        start = 0.0 if since is None else since.timestamp()
        latest_first = [(field, -direction) for field, direction in IN_TRAIL]
        found = await self._database.find(TRAIL, {"at": {"$gte": start}}, order=latest_first, most=most)
        for document in reversed(found):
            yield _entry.decode(document["body"])


async def history(database: MongoDatabase, module: str) -> list[Past]:
    """What a module was, the newest first; see `HistoryLedger.revisions`. A few lines for each change of it by hand."""
    actions = [
        action
        for action in await database.find(ACTIONS, {"subject": module})
        if action["action"] == REMOVED or action["action"].startswith(APPLIED)
    ]
    # `/` ends the module's name in the key of a revision, and `0` is the character after it.
    revisions = await database.find(REVISIONS, {"_id": {"$gt": f"{module}/", "$lt": f"{module}0"}})
    bodies = {APPLIED + revision["_id"].rpartition("/")[2]: revision for revision in revisions}
    noted = {action["action"] for action in actions}
    told = [(_order(action), action, bodies.get(action["action"])) for action in actions]
    told += [(_order(revision), revision, revision) for name, revision in bodies.items() if name not in noted]
    return [
        past(document.get("at", UNKNOWN), document.get("actor", ""), None if revision is None else revision["body"])
        for _, document, revision in sorted(told, key=lambda one: one[0], reverse=True)
    ]


def _order(document: Document) -> tuple[float, str]:
    """Those from before times were kept come first. Places tell what one process did at the same time."""
    return document.get("at", UNKNOWN), document.get("seq", "")
