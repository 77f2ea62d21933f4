"""The only place that chooses: from settings to open adapters.

A store is a folder, `.ion/` beside the pipeline file:

    ion.db      ledger, documents and bus: one SQLite file
    blobs/      the blob store
    work/       the folders of running attempts; on the blobs' file system, so that files are linked, not copied
    run/        lock files of dispatchers
    spool/      uploads on their way in
    settings.json   what holds for everybody who opens the store

Ledger, documents, blobs and bus may be on other hosts instead; the folder then holds what is left.

What cannot keep the rules together is refused here, when the program starts.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.wiring.executors import check_module, open_dispatcher, open_executors
    from ion.wiring.management import actor, open_management
    from ion.wiring.remembered import find_store, is_store
    from ion.wiring.stores import open_store

__all__ = [
    "actor",
    "check_module",
    "find_store",
    "is_store",
    "open_dispatcher",
    "open_executors",
    "open_management",
    "open_store",
]

_WHERE = {
    "actor": "management",
    "check_module": "executors",
    "find_store": "remembered",
    "is_store": "remembered",
    "open_dispatcher": "executors",
    "open_executors": "executors",
    "open_management": "management",
    "open_store": "stores",
}


def __getattr__(name: str) -> object:
    """What is named is imported when it is used: a handler needs nothing of a dispatcher."""
    if name not in _WHERE:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"ion.wiring.{_WHERE[name]}"), name)
