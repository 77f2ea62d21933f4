"""A front API over a real ledger in memory and a real blob store on disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.config.settings import Front
from ion.gateway.front import front_api
from ion.model.event import Event
from ion.model.job import Job
from ion.model.module import Module, Subscription, revise
from ion.ports.ledger import JobFilter

HEARD = ("frontapi.new_link", "photo", "clip/long")


class Place:
    """What stands behind a front API, to be looked at from behind."""

    def __init__(self, database: Database, ledger: SqliteLedger, blobs: FilesystemBlobs, folder: Path) -> None:
        self.database, self.ledger, self.blobs = database, ledger, blobs
        self.folder, self.spool = folder, folder / "spool"

    def spooled(self) -> list[Path]:
        return list(self.spool.iterdir()) if self.spool.exists() else []

    async def hear(self, *types: str) -> None:
        """Registers a module that subscribes to these types."""
        subscriptions = tuple(Subscription(type=event_type) for event_type in types)
        await self.ledger.apply([revise(Module(name="hears", on=subscriptions, command=("true",)))], "test")

    async def jobs(self) -> tuple[Job, ...]:
        return (await self.ledger.query(JobFilter())).jobs

    async def event(self) -> Event:
        """The one event that was raised."""
        (job,) = await self.jobs()
        return job.event

    async def contents(self) -> dict[str, bytes]:
        """The files of the one event."""
        return {file.path: await self.blobs.get_bytes(file.blob) for file in (await self.event()).files}

    @asynccontextmanager
    async def client(self, settings: Front | None = None, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
        """A client that calls the application directly."""
        settings = msgspec.structs.replace(settings or Front(), **changes)
        app = front_api(ledger=self.ledger, blobs=self.blobs, settings=settings, spool=self.spool)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9001") as client:
            yield client


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        Database(None) as database,
        SqliteLedger(database) as ledger,
        FilesystemBlobs(tmp_path / "blobs") as blobs,
    ):
        place = Place(database, ledger, blobs, tmp_path)
        await place.hear(*HEARD)
        yield place


@pytest.fixture
async def client(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with place.client() as client:
        yield client
