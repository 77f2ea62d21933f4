"""A store with two pipelines, an authority, and the real server of the API, spoken to over real TLS."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from ion.config.settings import Served
from ion.dispatcher.relay import Relay
from ion.dispatcher.stores import Stores
from ion.management.access.authority import Authority
from ion.management.access.material import Files
from ion.management.events import RootEvent, raise_event
from ion.management.rpc.remote import RemoteManagement, open_remote
from ion.model.job import Job
from ion.model.module import Module, Subscription, revise
from ion.model.retention import Retention
from ion.model.role import Role
from ion.ports.ledger import Entry, JobFilter
from ion.wiring import open_store
from ion.wiring.api import safety, serving_api

DETECT = Module(name="detect", pipeline="media", on=(Subscription(type="photo"),), command=("true",), folder="/")
COUNT = Module(name="count", pipeline="books", on=(Subscription(type="page"),), command=("true",), folder="/")
BOTH = Module(name="both", pipeline="books", on=(Subscription(type="mixed"),), command=("true",), folder="/")
ALSO = Module(name="also", pipeline="media", on=(Subscription(type="mixed"),), command=("true",), folder="/")


class World:
    """The store, the authority, and servers and clients of the API."""

    def __init__(self, stores: Stores, store: Path, authority: Authority) -> None:
        self.stores, self.ledger, self.store, self.authority = stores, stores.ledger, store, authority
        self.trusted = store / "trusted.pem"
        """The clients' copy of the authority's certificate."""
        self.trusted.write_bytes(authority.ca.read_bytes())

    @property
    def served(self) -> Served:
        """Settings with the authority's files."""
        certificate, key, ca = map(str, self.authority.server)
        return Served(host="127.0.0.1", certificate=certificate, key=key, ca=ca)

    def serving(self, served: Served | None = None) -> AbstractAsyncContextManager[int]:
        """The API over TLS, on a free port."""
        checked = safety(served or self.served)
        return serving_api(self.stores, checked, port=0, store=self.store, retention=Retention())

    def client(self, name: str, role: Role = Role.ADMIN, *pipelines: str, by: Authority | None = None) -> "ClientFiles":
        """A new certificate; of another authority if one is given."""
        authority = by or self.authority
        authority.client(name, role, pipelines)
        return ClientFiles(authority.files_of(name), self.trusted)

    async def raised(self, event_type: str, *, flow: str = "") -> list[Job]:
        """The jobs of modules that an event started."""
        root = RootEvent(type=event_type, correlation_id=flow)
        raised = await raise_event(root, gateway="cli", ledger=self.ledger, blobs=self.stores.blobs)
        stores = self.stores
        await Relay(stores.ledger, stores.documents, stores.blobs, stores.bus, owner="test", max_hops=32).drain()
        found = await self.ledger.query(JobFilter(event_id=raised.event.id))
        return [job for job in found.jobs if job.module != "cli"]

    async def trail(self) -> list[Entry]:
        return [entry async for entry in self.ledger.trail(None, 100)]


class ClientFiles(msgspec.Struct, frozen=True):
    """What a client shows, and the authority that it asks of the server."""

    own: Files | None
    ca: Path

    def to(self, port: int) -> AbstractAsyncContextManager[RemoteManagement]:
        shown = {"certfile": str(self.own.certificate), "keyfile": str(self.own.key)} if self.own else {}
        return open_remote(f"localhost:{port}", timeout_s=60.0, cacertfile=str(self.ca), **shown)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path / "certs")
    authority.init(())
    return authority


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """Another authority, which the server does not know."""
    authority = Authority(tmp_path / "stranger")
    authority.init(())
    return authority


@pytest.fixture
async def world(tmp_path: Path, authority: Authority) -> AsyncIterator[World]:
    """With the modules `detect` and `also` of the pipeline media, `count` and `both` of books."""
    store = tmp_path / "store"
    async with open_store(store) as stores:
        await stores.ledger.apply([revise(module) for module in (DETECT, COUNT, BOTH, ALSO)], "test")
        yield World(stores, store, authority)
