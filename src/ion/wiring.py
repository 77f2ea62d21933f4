"""The only place that chooses: from settings to open adapters.

A store is a folder, `.ion/` beside the pipeline file:

    ion.db      ledger, documents and bus: one SQLite file
    blobs/      the blob store
    work/       the folders of running attempts; on the blobs' file system, so that files are linked, not copied
    run/        lock files of dispatchers
    spool/      uploads on their way in

What cannot keep the rules together is refused here, when the program starts.
"""

import functools
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from ion.adapters.sqlite.database import Database
from ion.config.settings import SecretSource, Settings
from ion.dispatcher.finish import Observer
from ion.dispatcher.service import Dispatcher, DispatcherSettings, Stores
from ion.errors import UnsupportedError
from ion.model.module import Resources
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.executor import Executor
from ion.ports.ledger import Ledger

STORE_NAME = ".ion"
SPARE_CACHE_S = 2.0


def find_store(start: Path, explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The store to work on: the one named, else `ION_HOME`, else `.ion` here or in a folder above."""
    if explicit is not None:
        return explicit.absolute()
    if home := environ.get("ION_HOME"):
        return Path(home).absolute()
    start = start.absolute()
    return next((f / STORE_NAME for f in (start, *start.parents) if (f / STORE_NAME / "ion.db").is_file()), None)


@asynccontextmanager
async def open_store(store: Path, settings: Settings | None = None) -> AsyncIterator[Stores]:
    """Opens ledger, documents, bus, blobs and handler of a store, and closes them in reverse."""
    from ion.adapters.blobs.filesystem import FilesystemBlobs, leases_work
    from ion.adapters.bus.sqlite import SqliteBus
    from ion.adapters.documents.sqlite import SqliteDocuments
    from ion.adapters.ledger.sqlite import SqliteLedger
    from ion.handler import JobHandler

    settings = settings or Settings()
    for folder in ("blobs", "work", "run", "spool"):
        (store / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        databases: dict[str, Database] = {}

        async def database(kind: str) -> Database:
            if kind not in databases:
                path = None if kind == "memory" else store / "ion.db"
                databases[kind] = await stack.enter_async_context(Database(path, synchronous=settings.synchronous))
            return databases[kind]

        ledger = await stack.enter_async_context(
            SqliteLedger(await database(settings.ledger.kind), max_jobs=settings.guards.max_jobs)
        )
        documents = await stack.enter_async_context(SqliteDocuments(await database(settings.documents.kind)))
        bus = await stack.enter_async_context(SqliteBus(await database(settings.bus.kind)))
        blobs = await stack.enter_async_context(FilesystemBlobs(store / "blobs", links=leases_work(store / "work")))
        _check_durable(ledger, documents, bus)
        if not blobs.guarantees.create_only:
            raise UnsupportedError("the blob store cannot create only what is not there yet; a commit needs that")
        handler = JobHandler(blobs, host=socket.gethostname())
        yield Stores(ledger=ledger, documents=documents, blobs=blobs, bus=bus, handler=handler)


def _check_durable(ledger: Ledger, documents: Documents, bus: Bus) -> None:
    """What outlives this process must not be told that a ledger has it which does not; and the other way round."""
    if ledger.guarantees.durable == documents.guarantees.durable == bus.guarantees.durable:
        return
    raise UnsupportedError(
        "some of ledger, documents and bus are in memory and some are not, so after a crash they would contradict each "
        "other: set the kind of all three to memory, or of none"
    )


@asynccontextmanager
async def open_executors(
    store: Path, stores: Stores, settings: Settings, environ: Mapping[str, str]
) -> AsyncIterator[dict[str, Executor]]:
    """Opens the executors of this host, by provider."""
    from ion.adapters.executors.local import LocalExecutor

    local = LocalExecutor(
        store / "work",
        stores.handler,
        machine=_machine(settings),
        devices=_devices(settings),
        secrets=functools.partial(_secret, settings.secrets, environ),
        environ=environ,
        guard_links=stores.blobs.guarantees.links,
    )
    async with local:
        yield {"local": local}


def open_dispatcher(
    store: Path,
    stores: Stores,
    executors: Mapping[str, Executor],
    settings: Settings,
    *,
    observe: Observer,
    stop_grace_s: float,
) -> Dispatcher:
    """A dispatcher on this host, to be opened by `async with`."""
    ours = DispatcherSettings(locks=store / "run", max_hops=settings.guards.max_hops, stop_grace_s=stop_grace_s)
    return Dispatcher(stores, executors, ours, observe=observe, spare=_spare(store))


def _machine(settings: Settings) -> Resources:
    from ion.adapters.executors.local.limits import this_machine

    found, said = this_machine(), settings.machine
    return msgspec.structs.replace(
        found, cpu=said.cpu or found.cpu, memory=said.memory or found.memory, gpu=len(_devices(settings))
    )


def _devices(settings: Settings) -> tuple[str, ...]:
    from ion.adapters.executors.local.limits import gpu_devices

    return settings.machine.gpus or gpu_devices()


def _secret(sources: Mapping[str, SecretSource], environ: Mapping[str, str], name: str) -> str | None:
    """A secret by name: where the pipeline file says, else the variable of that name, else the file of that name in
    `ION_SECRETS_DIR`; None where there is none.
    """
    if (source := sources.get(name)) is not None:
        return environ.get(source.env) if source.env else _content(Path(source.file))
    if name in environ:
        return environ[name]
    folder = environ.get("ION_SECRETS_DIR")
    return _content(Path(folder) / name) if folder and "/" not in name else None


def _content(file: Path) -> str | None:
    """A file's text without the line end that editors leave; None where it cannot be read."""
    try:
        return file.read_text().rstrip("\n")
    except (OSError, UnicodeError):
        return None


def _spare(store: Path) -> Callable[[], float]:
    """How much of the store's disk is free, 0 to 1; asked of the system every other second at most."""
    last = [0.0, 1.0]

    def spare() -> float:
        now = time.monotonic()
        if now - last[0] > SPARE_CACHE_S or not last[0]:
            usage = shutil.disk_usage(store)
            last[:] = now, usage.free / usage.total
        return last[1]

    return spare


def actor() -> str:
    """Who does this, for histories."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"
