"""What the histories of every ledger have in common: how changes of modules are noted, and lines of the audit trail."""

from datetime import UTC, datetime

import msgspec

from ion.adapters.ledger.rows import clipped
from ion.model.module import Revision
from ion.ports.ledger import Entry, Past

REMOVED = "remove"
APPLIED = "apply "
"""What was done to a module, before the revision's id."""

UNKNOWN = 0.0
"""When something happened of which that was not kept."""

TEXT_LIMIT = 1000
_revision = msgspec.json.Decoder(Revision)


def past(at: float, actor: str, body: str | None) -> Past:
    """A module's past from a noted action; without a revision's body it was removed."""
    revision = None if body is None else _revision.decode(body)
    return Past(revision=revision, at=datetime.fromtimestamp(at, UTC), actor=actor, removed=revision is None)


def kept(entry: Entry, now: float) -> Entry:
    """A line of the audit trail as it is kept: small, and of text that every store can hold."""
    return Entry(
        at=datetime.fromtimestamp(now, UTC),
        actor=_kept(entry.actor),
        role=_kept(entry.role),
        verb=_kept(entry.verb),
        about=_kept(entry.about),
        peer=_kept(entry.peer),
        outcome=_kept(entry.outcome),
    )


def _kept(text: str) -> str:
    return clipped(text, TEXT_LIMIT).encode(errors="replace").decode()
