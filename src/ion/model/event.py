"""What happened: an event and the files it names.

Inside Ion an event is this value; on the wire it is a CloudEvents 1.0 document (see `ion.messaging.codec`).
"""

from datetime import UTC, datetime
from typing import Any

import msgspec


class FileRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored file.

    `path` is its name below `in/data` (forward slashes), `blob` its path in the blob store, `size` in bytes,
    `sha256` in hexadecimal.
    """

    path: str
    blob: str
    size: int
    sha256: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact that modules may react to.

    `id` is a UUID; `origid` keeps a foreign event's own id. `source` is a URI reference (CloudEvents). `parent_id` is
    the id of the event whose job raised this one, or the gateway's name for a root. `hops` counts jobs since the root.
    `data` is any JSON value, for Ion's modules an object of the event's key/values; where it is too large for a row,
    `dataref` is the blob path of its JSON document and `data` is empty. `traceparent` is W3C Trace Context.
    """

    id: str
    type: str
    source: str
    correlation_id: str
    parent_id: str
    time: datetime
    subject: str = ""
    traceparent: str = ""
    origid: str = ""
    hops: int = 0
    files: tuple[FileRef, ...] = ()
    data: Any = msgspec.field(default_factory=dict)
    dataref: str = ""


def utc_now() -> datetime:
    """This host's clock, aware and in UTC. For records only: due times and deadlines use the ledger's clock."""
    return datetime.now(UTC)
