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

from ion.wiring.executors import check_module, open_dispatcher, open_executors
from ion.wiring.management import actor, open_management
from ion.wiring.remembered import find_store, is_store, remembered
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
    "remembered",
]
