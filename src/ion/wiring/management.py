"""The verbs of management on a store here."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ion.wiring.remembered import remembered
from ion.wiring.stores import open_store

if TYPE_CHECKING:  # of use to commands alone
    from ion.management.verbs import Management


def actor() -> str:
    """Who does this, for histories."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"


@asynccontextmanager
async def open_management(store: Path) -> "AsyncIterator[Management]":
    """Opens a store that is there, and gives the verbs on it; changes are by `actor` and in the trail."""
    from ion.management.access.callers import Caller
    from ion.management.access.record import HERE, recorded
    from ion.management.local import LocalManagement

    async with open_store(store) as stores:
        local = LocalManagement(
            stores, actor=actor(), work=store / "work", retention=remembered(store).retention, place=str(store)
        )
        yield recorded(local, Caller(actor=actor(), peer=HERE), stores.ledger)
