"""Which modules a dispatcher receives for: those of the registry, as they come, change and go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.sqlite.database import Database
from ion.dispatcher.admit import Admissions
from ion.model.module import Module, Subscription
from ion.ports.ledger import JobFilter
from ion.testing.conformance.bus_harness import ids_of, made

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

PATIENCE_S = 120.0


def module(name: str, *types: str, pipeline: str = "media") -> Module:
    return Module(name=name, pipeline=pipeline, on=tuple(Subscription(type=kind) for kind in types))


class Post:
    """A bus on a store of its own, and the admissions that receive from it."""

    def __init__(self, bench: "Bench", database: Database, bus: SqliteBus, tasks: asyncio.TaskGroup) -> None:
        self.bus = bus
        self._bench, self._database, self._tasks = bench, database, tasks
        self._admissions = Admissions(bus, bench.ledger, bench.blobs, max_hops=8)

    async def follow(self, *modules: Module) -> None:
        """Receives for exactly these from now on; returns once their receivers are open and others are closed."""
        for one in modules:
            await self.bus.ensure([subscription.type for subscription in one.on], [one.group])
        await self._admissions.follow(modules, self._tasks)
        wanted = sum(1 for one in modules if one.on)
        await self._until(lambda: self._count("SELECT count(*) FROM bus_receivers"), wanted)

    async def taken(self, group: str) -> None:
        """Waits until a group has acknowledged everything."""
        await self._until(lambda: self.bus.depth(group), 0)

    async def admitted(self, name: str) -> Sequence[str]:
        """The ids of the events for which a module has a job."""
        return [job.event.id for job in (await self._bench.ledger.query(JobFilter(module=name))).jobs]

    async def _count(self, query: str) -> int:
        return int(self._database.read(lambda db: db.execute(query).fetchone()[0]))

    async def _until(self, count: Callable[[], Awaitable[int]], wanted: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await count() != wanted:  # noqa: ASYNC110 - neither makes news
                await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(bench: "Bench") -> AsyncIterator[Post]:
    async with Database(None) as database, SqliteBus(database) as bus, asyncio.TaskGroup() as tasks:
        post = Post(bench, database, bus, tasks)
        yield post
        await post.follow()


async def test_every_module_with_subscriptions_is_received_for(bench: "Bench") -> None:
    """Each by its own group, so that one event reaches both; following the same again changes nothing."""
    async with opened(bench) as post:
        modules = module("detect", "photo"), module("count", "photo", "face"), module("lonely")
        await post.follow(*modules)
        await post.follow(*modules)
        event = made("photo")
        await post.bus.publish([event])
        await post.taken("media_detect")
        await post.taken("media_count")
        assert await post.admitted("detect") == await post.admitted("count") == [event.id]


async def test_the_admission_of_a_removed_module_stops(bench: "Bench") -> None:
    """What comes afterwards stays on the bus, and nothing that was taken is lost; the others go on."""
    async with opened(bench) as post:
        await post.follow(module("detect", "photo"), module("count", "photo"))
        await post.follow(module("count", "photo"))
        event = made("photo")
        await post.bus.publish([event])
        await post.taken("media_count")
        assert await post.admitted("count") == [event.id]
        assert await post.admitted("detect") == []
        async with post.bus.subscribe(["photo"], "media_detect") as receiver:
            assert ids_of(await receiver.receive(9, PATIENCE_S)) == [event.id]


async def test_a_module_that_changed_is_received_for_as_it_is_now(bench: "Bench") -> None:
    """Its new subscriptions count from then on."""
    async with opened(bench) as post:
        await post.follow(module("detect", "photo"))
        await post.follow(module("detect", "scan"))
        scan = made("scan")
        await post.bus.publish([scan])
        await post.taken("media_detect")
        assert await post.admitted("detect") == [scan.id]


async def test_a_module_that_returns_is_received_for_again(bench: "Bench") -> None:
    """What came while it was gone waits on the bus, and is admitted."""
    async with opened(bench) as post:
        await post.follow(module("detect", "photo"))
        await post.follow()
        event = made("photo")
        await post.bus.publish([event])
        await post.follow(module("detect", "photo"))
        await post.taken("media_detect")
        assert await post.admitted("detect") == [event.id]


def test_two_modules_never_share_a_group() -> None:
    """A group is one subscriber to the bus: of two modules in it, each event would reach only one."""
    assert module("face-detect", "photo").group != module("detect", "photo", pipeline="media-face").group
