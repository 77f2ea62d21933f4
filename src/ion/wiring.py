"""The only place that chooses: from settings to open adapters.

A store is a folder, `.ion/` beside the pipeline file:

    ion.db      ledger, documents and bus: one SQLite file
    blobs/      the blob store
    work/       the folders of running attempts; on the blobs' file system, so that files are linked, not copied
    run/        lock files of dispatchers
    spool/      uploads on their way in
    settings.json   what holds for everybody who opens the store

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
from ion.config.settings import Guards, SecretSource, Settings
from ion.dispatcher.finish import Observer
from ion.dispatcher.service import Dispatcher, DispatcherSettings, Stores
from ion.errors import UnsupportedError
from ion.model.job import Job
from ion.model.module import Resources, Revision
from ion.model.retention import Retention
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.executor import Executor, Handler
from ion.ports.ledger import Ledger

STORE_NAME = ".ion"
REMEMBERED = "settings.json"
SPARE_CACHE_S = 2.0


def find_store(start: Path, explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The store to work on: the one named, else `ION_HOME`, else `.ion` here or in a folder above."""
    if explicit is not None:
        return Path(os.path.abspath(explicit))  # noqa: PTH100  `..` is taken out, links stay
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

    settings = settings or remembered(store)
    try:
        for folder in ("blobs", "work", "run", "spool"):
            (store / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        _remember(store, settings)
    except OSError as error:
        raise UnsupportedError(f"the store {store} cannot be made: {error.strerror}; name another place") from error
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
        blobs = await stack.enter_async_context(
            FilesystemBlobs(store / "blobs", links=leases_work(store / "work"), durable=settings.synchronous == "full")
        )
        _check_durable(ledger, documents, bus)
        if not blobs.guarantees.create_only:
            raise UnsupportedError("the blob store cannot create only what is not there yet; a commit needs that")
        handler = JobHandler(blobs, host=socket.gethostname())
        yield Stores(ledger=ledger, documents=documents, blobs=blobs, bus=bus, handler=handler)


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What of a pipeline's settings holds for everybody who opens its store, whichever command it is."""

    synchronous: str = "normal"
    max_jobs: int = Guards().max_jobs
    retention: Retention = Retention()


def remembered(store: Path) -> Settings:
    """What the last pipeline that was served on this store said; the defaults on a new one."""
    try:
        kept = msgspec.json.decode((store / REMEMBERED).read_bytes(), type=Remembered)
    except (FileNotFoundError, msgspec.MsgspecError):  # none yet, or torn by a power cut
        kept = Remembered()
    return Settings(synchronous=kept.synchronous, guards=Guards(max_jobs=kept.max_jobs), retention=kept.retention)


def _remember(store: Path, settings: Settings) -> None:
    kept = Remembered(synchronous=settings.synchronous, max_jobs=settings.guards.max_jobs, retention=settings.retention)
    content = msgspec.json.encode(kept)
    file = store / REMEMBERED
    if not file.exists() or file.read_bytes() != content:
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(file)


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
) -> AsyncIterator[Mapping[str, Executor]]:
    """Opens the executors of this host, by provider."""
    executors = _executors(store, stores.handler, settings, environ, guard_links=stores.blobs.guarantees.links)
    async with AsyncExitStack() as stack:
        for executor in executors.values():
            await stack.enter_async_context(executor)
        yield executors


def check_module(revision: Revision, store: Path, settings: Settings, environ: Mapping[str, str]) -> None:
    """Whether a module can run on this host; nothing is opened or made for the answer.

    Raises:
        UnsupportedError: it never can. UnavailableError: not now.
    """
    from ion.adapters.blobs.filesystem import FilesystemBlobs
    from ion.handler import JobHandler

    handler = JobHandler(FilesystemBlobs(store / "blobs"), host="")
    executors = _executors(store, handler, settings, environ, guard_links=False)
    module = revision.module
    if module.provider not in executors:
        raise UnsupportedError(
            f"module {module.name} is for the provider '{module.provider}', and this Ion has {', '.join(executors)}: "
            "set `provider: local`, perhaps in a profile"
        )
    executors[module.provider].check(revision)


def _executors(
    store: Path, handler: Handler, settings: Settings, environ: Mapping[str, str], *, guard_links: bool
) -> Mapping[str, Executor]:
    from ion.adapters.executors.local import LocalExecutor

    local = LocalExecutor(
        store / "work",
        handler,
        machine=_machine(settings),
        devices=_devices(settings),
        secrets=functools.partial(_secret, settings.secrets, environ),
        environ=environ,
        guard_links=guard_links,
    )
    return {"local": local}


def open_dispatcher(
    store: Path,
    stores: Stores,
    executors: Mapping[str, Executor],
    settings: Settings,
    *,
    observe: Observer,
    final: Callable[[Job], bool] = lambda _: False,
    stop_grace_s: float = 30.0,
) -> Dispatcher:
    """A dispatcher on this host, to be opened by `async with`; see there for `observe` and `final`."""
    ours = DispatcherSettings(locks=store / "run", max_hops=settings.guards.max_hops, stop_grace_s=stop_grace_s)
    return Dispatcher(stores, executors, ours, observe=observe, spare=_spare(store), final=final)


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
