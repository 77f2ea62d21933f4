"""The ports of a store: from settings to open adapters, and what cannot keep the rules together is refused."""

import importlib.util
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.adapters.mongo.settings import MongoSettings
from ion.adapters.postgres.settings import PostgresSettings
from ion.adapters.sqlite.database import Database
from ion.config.backends import Backend, with_secrets
from ion.config.settings import Settings
from ion.config.stores import SHARED
from ion.dispatcher.stores import Stores
from ion.errors import UnsupportedError
from ion.model.retention import Retention
from ion.ports.blobs import Blobs, Grant
from ion.ports.bus import Bus
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger
from ion.wiring.marks import check_mark
from ion.wiring.remembered import remember, remembered


@asynccontextmanager
async def open_store(store: Path, settings: Settings | None = None) -> AsyncIterator[Stores]:
    """Opens ledger, documents, bus, blobs and handler of a store, and closes them in reverse.

    Who gives `settings` serves the store; who does not looks at what was served there last.
    """
    from ion.handler import JobHandler

    serves, settings = settings is not None, settings or remembered(store)
    try:
        for folder in ("work", "run", "spool"):
            (store / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        remember(store, settings)
    except OSError as error:
        raise UnsupportedError(f"the store {store} cannot be made: {error.strerror}; name another place") from error
    async with AsyncExitStack() as stack:
        opening = _Opening(store, settings, stack)
        ledger = await opening.ledger()
        documents = await opening.documents()
        bus = await stack.enter_async_context(await opening.bus(ledger))
        blobs = await stack.enter_async_context(_blobs(store, settings))
        if settings.ledger.kind in SHARED and blobs.guarantees.local:
            await check_mark(await opening.database_of_ledger(), store / "blobs", serves=serves)
        _check_durable(ledger, documents, bus)
        _check_kept(ledger, bus, settings.retention)
        if not blobs.guarantees.create_only:
            raise UnsupportedError("the blob store cannot create only what is not there yet; a commit needs that")
        handler = JobHandler(blobs, host=socket.gethostname())
        yield Stores(ledger=ledger, documents=documents, blobs=blobs, bus=bus, handler=handler)


class _Opening:
    """Opens what a store is made of; a database that serves several purposes is opened once."""

    def __init__(self, store: Path, settings: Settings, stack: AsyncExitStack) -> None:
        self._store, self._settings, self._stack = store, settings, stack
        self._databases: dict[Backend, Any] = {}

    async def ledger(self) -> Ledger:
        backend, most = self._settings.ledger, self._settings.guards.max_jobs
        database = await self.database_of_ledger()
        if backend.kind == "postgres":
            from ion.adapters.ledger.postgres import PostgresLedger

            return await self._stack.enter_async_context(PostgresLedger(database, max_jobs=most))
        if backend.kind == "mongodb":
            from ion.adapters.ledger.mongo import MongoLedger

            return await self._stack.enter_async_context(MongoLedger(database, max_jobs=most))
        from ion.adapters.ledger.sqlite import SqliteLedger

        return await self._stack.enter_async_context(SqliteLedger(database, max_jobs=most))

    async def database_of_ledger(self) -> Any:
        return await self._database(with_secrets("ledger", self._settings.ledger, os.environ))

    async def documents(self) -> Documents:
        said = self._settings.documents
        backend = with_secrets("documents" if said else "ledger", said or self._settings.ledger, os.environ)
        database = await self._database(backend)
        if backend.kind == "postgres":
            from ion.adapters.documents.postgres import PostgresDocuments

            return await self._stack.enter_async_context(PostgresDocuments(database))
        if backend.kind == "mongodb":
            from ion.adapters.documents.mongo import MongoDocuments

            return await self._stack.enter_async_context(MongoDocuments(database))
        from ion.adapters.documents.sqlite import SqliteDocuments

        return await self._stack.enter_async_context(SqliteDocuments(database))

    async def bus(self, ledger: Ledger) -> Bus:
        """Not yet open. Without one of its own, it is the ledger's."""
        beside = "none" if self._settings.ledger.kind in SHARED else self._settings.ledger.kind
        bus = with_secrets("bus", self._settings.bus or Backend(kind=beside), os.environ)
        if bus.kind in _BUSES:
            return _BUSES[bus.kind](bus.options)
        if bus.kind == "none":
            from ion.adapters.bus.none import NoBus

            return NoBus(ledger.guarantees.store, durable=ledger.guarantees.durable)
        from ion.adapters.bus.sqlite import SqliteBus

        return SqliteBus(await self._database(bus))

    async def _database(self, backend: Backend) -> Any:
        if backend not in self._databases:
            opened = _DATABASES.get(backend.kind, self._sqlite)(backend)
            self._databases[backend] = await self._stack.enter_async_context(opened)
        return self._databases[backend]

    def _sqlite(self, backend: Backend) -> Database:
        path = None if backend.kind == "memory" else self._store / "ion.db"
        return Database(path, synchronous=self._settings.synchronous)


def _postgres(backend: Backend) -> AbstractAsyncContextManager[Any]:
    from ion.adapters.postgres.database import Postgres

    _need("psycopg", extra="postgres")
    return Postgres(backend.options or PostgresSettings())


def _mongodb(backend: Backend) -> AbstractAsyncContextManager[Any]:
    from ion.adapters.mongo.database import MongoDatabase

    _need("pymongo", extra="mongodb")
    return MongoDatabase(backend.options or MongoSettings())


_DATABASES: Mapping[str, Callable[[Backend], AbstractAsyncContextManager[Any]]] = {
    "postgres": _postgres,
    "mongodb": _mongodb,
}
"""Databases that are not in the store, by the kinds of `ion.config.stores`."""


def _blobs(store: Path, settings: Settings) -> Blobs:
    """Not yet open."""
    backend = with_secrets("blobs", settings.blobs, os.environ)
    if isinstance(backend.options, ObjectsSettings):
        from ion.adapters.blobs.objects import ObjectBlobs

        _need("obstore", extra="objects")
        return ObjectBlobs(backend.options)
    from ion.adapters.blobs.filesystem import FilesystemBlobs, leases_work

    return FilesystemBlobs(store / "blobs", links=leases_work(store / "work"), durable=settings.synchronous == "full")


def granted(grant: Grant) -> Blobs:
    """What a grant opens, not yet open: the blobs of who runs an attempt and has no store."""
    from ion.adapters.blobs.objects_narrow import NarrowBlobs

    _need("obstore", extra="objects")
    return NarrowBlobs(grant)


def _nats(options: NatsSettings) -> Bus:
    from ion.adapters.bus.nats import NatsBus

    _need("nats", extra="nats")
    return NatsBus(options)


def _rabbit(options: RabbitSettings) -> Bus:
    from ion.adapters.bus.rabbitmq import RabbitBus

    _need("aio_pika", extra="rabbitmq")
    return RabbitBus(options)


def _servicebus(options: ServiceBusSettings) -> Bus:
    from ion.adapters.bus.servicebus import ServiceBusBus

    _need("azure.servicebus", extra="servicebus")
    return ServiceBusBus(options)


_BUSES: Mapping[str, Callable[[Any], Bus]] = {"nats": _nats, "rabbitmq": _rabbit, "servicebus": _servicebus}
"""Buses that are not in the store, by the kinds of `ion.config.buses`."""


def _need(package: str, *, extra: str) -> None:
    """Refuses a kind whose client is not installed; the client itself is imported when it is used."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # what it lies in is not here either
        found = None
    if found is None:
        raise UnsupportedError(f"the kind '{extra}' needs a client that is not here: install ion-events[{extra}]")


def _check_durable(ledger: Ledger, documents: Documents, bus: Bus) -> None:
    """What outlives this process must not be told that a ledger has it which does not; and the other way round."""
    if ledger.guarantees.durable == documents.guarantees.durable == bus.guarantees.durable:
        return
    raise UnsupportedError(
        "some of ledger, documents and bus are in memory and some are not, so after a crash they would contradict each "
        "other: set the kind of all three to memory, or of none"
    )


def _check_kept(ledger: Ledger, bus: Bus, retention: Retention) -> None:
    """A job's id must be known for as long as the bus may deliver its event, or the job would run again."""
    keeps_s, ids_s = bus.guarantees.keeps_s, retention.ids_s
    if bus.guarantees.store == ledger.guarantees.store or ids_s is None:
        return
    if keeps_s is None or keeps_s >= ids_s:
        kept = "for ever" if keeps_s is None else f"{keeps_s:g} s"
        raise UnsupportedError(
            f"the bus keeps events {kept} and ids of jobs are kept {ids_s:g} s, so a late delivery would run a job "
            "again: make `retention.ids` longer, or `max_age` of the bus shorter"
        )
