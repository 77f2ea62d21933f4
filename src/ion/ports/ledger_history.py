"""What became of the registry, and who asked for what: the revisions of a module, and the audit trail.

Part of `ion.ports.ledger`, whose text holds for these verbs too. Nothing here decides anything.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import datetime

from ion.ports.ledger_data import Entry, Past


class HistoryLedger(ABC):
    @abstractmethod
    def revisions(self, module: str) -> AsyncIterator[Past]:
        """What a module was, the newest first: each time a revision of it was applied, by whom, and each time it was
        removed (`removed`, without a revision). A removed module's history stays; one never applied has none.

        A revision applied again stands there again. One of which it was not kept when it was applied, or by whom,
        comes last, with what is known: the epoch and an empty actor for nothing.
        """

    @abstractmethod
    async def note(self, entry: Entry) -> None:
        """Adds a line to the audit trail.

        Its `at` is set by the ledger's clock, whatever was given; texts of more than 1,000 characters are clipped.
        """

    @abstractmethod
    def trail(self, since: datetime | None, most: int) -> AsyncIterator[Entry]:
        """The last `most` (1 to 100,000) lines of the audit trail, of those since a time; the oldest first."""
