"""What a dispatcher works on."""

import msgspec

from ion.ports.blobs import Blobs
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.executor import Handler
from ion.ports.ledger import Ledger


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """The opened adapters; they belong together."""

    ledger: Ledger
    documents: Documents
    blobs: Blobs
    bus: Bus
    handler: Handler
