"""Runs `ion` and kills this process with SIGKILL at a chosen step of a job's life: `crash.py STEP NUMBER ARGUMENT...`.

A step is a function of Ion's, and whether the process dies just before it or just after. It dies at the NUMBER-th time
that it comes to it. Nothing of Ion is replaced: the function runs as it is, with the death beside it.
"""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

STEPS: dict[str, tuple[str, str, str]] = {
    # the root event
    "root stored": ("ion.management.root_job", "_put_manifest", "after"),
    "to be admitted": ("ion.adapters.ledger.sqlite", "SqliteLedger.admit", "before"),
    "admitted": ("ion.adapters.ledger.sqlite", "SqliteLedger.admit", "after"),
    # claim and start
    "to be claimed": ("ion.adapters.ledger.sqlite", "SqliteLedger.claim", "before"),
    "claimed": ("ion.adapters.ledger.sqlite", "SqliteLedger.claim", "after"),
    "submitted": ("ion.adapters.executors.local.executor", "LocalExecutor.submit", "after"),
    "prepared": ("ion.handler.handler", "JobHandler.prepare", "after"),
    "log begun": ("ion.adapters.executors.log", "LogSpool.create", "after"),
    "started": ("ion.adapters.executors.local.attempt", "start", "after"),
    "ended": ("ion.adapters.executors.local.process", "ProgramRun.finish", "after"),
    # commit
    "to be committed": ("ion.handler.handler", "JobHandler.commit", "before"),
    "file stored": ("ion.adapters.blobs.filesystem", "FilesystemBlobs.put", "after"),
    "manifest to be written": ("ion.handler.commit", "_finish", "before"),
    "manifest written": ("ion.handler.commit", "_finish", "after"),
    "to be decided": ("ion.adapters.ledger.sqlite", "SqliteLedger.commit", "before"),
    "decided": ("ion.adapters.ledger.sqlite", "SqliteLedger.commit", "after"),
    "attempt removed": ("ion.adapters.executors.local.executor", "LocalExecutor.remove", "after"),
    # relay
    "to be recorded": ("ion.adapters.documents.sqlite", "SqliteDocuments.put", "before"),
    "recorded": ("ion.adapters.documents.sqlite", "SqliteDocuments.put", "after"),
    "children to be admitted": ("ion.dispatcher.relay", "Relay._hand_on", "before"),
    "published": ("ion.adapters.bus.sqlite", "SqliteBus.publish", "after"),
    "to be released": ("ion.adapters.ledger.sqlite", "SqliteLedger.released", "before"),
    "released": ("ion.adapters.ledger.sqlite", "SqliteLedger.released", "after"),
    # failure
    "log kept": ("ion.handler.handler", "JobHandler.keep_log", "after"),
    "to be settled": ("ion.adapters.ledger.sqlite", "SqliteLedger.settle", "before"),
    "settled": ("ion.adapters.ledger.sqlite", "SqliteLedger.settle", "after"),
}

COLLECTING: dict[str, tuple[str, str, str]] = {
    "to expire": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.expire", "before"),
    "expired": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.expire", "after"),
    "log to be dropped": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.drop_log", "before"),
    "log dropped": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.drop_log", "after"),
    "blobs to be deleted": ("ion.adapters.blobs.filesystem", "FilesystemBlobs.delete", "before"),
    "a blob deleted": ("ion.adapters.blobs.folders", "_unlinked", "after"),
    "blobs deleted": ("ion.adapters.blobs.filesystem", "FilesystemBlobs.delete", "after"),
    "records to be deleted": ("ion.adapters.documents.sqlite", "SqliteDocuments.delete", "before"),
    "records deleted": ("ion.adapters.documents.sqlite", "SqliteDocuments.delete", "after"),
    "to be stripped": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.strip", "before"),
    "stripped": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.strip", "after"),
}
"""The steps of `ion gc`."""

FORGETTING: dict[str, tuple[str, str, str]] = {
    "to be forgotten": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.forget", "before"),
    "forgotten": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.forget", "after"),
}
"""The steps of the `ion gc` after that."""

SUPERSEDING: dict[str, tuple[str, str, str]] = {
    "to be superseded": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.supersede", "before"),
    "superseded": ("ion.adapters.ledger.sqlite_keeping", "SqliteKeeping.supersede", "after"),
}
"""What the relay does for a further run."""


ELSEWHERE = {"postgres": "Postgres", "mongo": "Mongo"}
"""Databases in place of SQLite: with these there is no bus, and blobs are in an object store."""


def arm(step: str, number: int, database: str) -> None:
    module, path, when = {**STEPS, **COLLECTING, **FORGETTING, **SUPERSEDING}[step]
    if database:
        module = module.replace("bus.sqlite", "bus.none").replace("sqlite", database).replace("filesystem", "objects")
        path = path.replace("SqliteBus", "NoBus").replace("Sqlite", ELSEWHERE[database])
        path = path.replace("FilesystemBlobs", "ObjectBlobs")
        module, path = module.replace("folders", "objects"), path.replace("_unlinked", "ObjectBlobs._remove")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    setattr(owner, name, _deadly(getattr(owner, name), number, when))


def _deadly(function: Callable[..., Any], number: int, when: str) -> Callable[..., Any]:
    times = count(1)

    def die_if_due(now: str) -> None:
        if now == when and next(times) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        die_if_due("before")
        result = function(*args, **kwargs)
        die_if_due("after")
        return result

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        die_if_due("before")
        result = await function(*args, **kwargs)
        die_if_due("after")
        return result

    import inspect

    return awaited if inspect.iscoroutinefunction(function) else plain


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]), os.environ.get("CRASH_DATABASE", ""))
    from ion.cli.main import main

    main(sys.argv[3:], prog_name="ion")
