"""The verbs on modules, on open stores whose ledgers are real: a file, PostgreSQL, a server that
speaks MongoDB's protocol.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_server import PostgresServer

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.postgres.database import Postgres
from ion.adapters.sqlite.database import Database
from ion.dispatcher.stores import Stores
from ion.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from ion.handler import JobHandler
from ion.management.created import deployed_name
from ion.management.local.modules import LocalModules
from ion.management.local.site import Site
from ion.management.verbs.modules import Applied, Change, Difference, Fate
from ion.model.job import State
from ion.model.module import Module, Resources, Subscription, revise
from ion.model.retention import Retention
from ion.ports.ledger import Bury, Ledger, Owner
from ion.testing.conformance.ledger_stage import claim, failure, waiting_job

LEDGERS = ["sqlite", "postgres", "mongodb"]
DETECT = Module(name="detect", on=(Subscription(type="photo"),), emits=("face",), command=("true",))
COUNT = Module(name="count", on=(Subscription(type="face"),), command=("true",))


class Opened:
    """An open store, its verbs on modules, and the database of a bus that is not the ledger's."""

    def __init__(self, stores: Stores, actor: str = "me") -> None:
        self.stores, self.ledger = stores, stores.ledger
        site = Site(stores=stores, actor=actor, work=None, retention=Retention(), place="here")
        self.modules = LocalModules(site)

    async def fates(self, *modules: Module, **how: Any) -> dict[str, Fate]:
        applied = await self.modules.apply(modules=modules, **how)
        return {change.module: change.fate for change in applied.changes}

    async def names(self) -> list[str]:
        return [one.module.name for one in await self.modules.list()]


async def open_stores(stack: AsyncExitStack, ledger: Ledger, folder: Path, bus: Any = None) -> Stores:
    """Stores around a ledger; their bus is in another database than the ledger's."""
    beside = await stack.enter_async_context(Database(None))
    blobs = await stack.enter_async_context(FilesystemBlobs(folder / "blobs"))
    return Stores(
        ledger=ledger,
        documents=SqliteDocuments(beside),
        blobs=blobs,
        bus=bus or await stack.enter_async_context(SqliteBus(beside)),
        handler=JobHandler(blobs, host="here"),
    )


@pytest.fixture(params=LEDGERS)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:
        ledger: Ledger
        if request.param == "postgres":
            server: PostgresServer = request.getfixturevalue("postgres")
            ledger = PostgresLedger(await stack.enter_async_context(Postgres(server.settings())))
        elif request.param == "mongodb":
            mongo: MongoServer = request.getfixturevalue("mongo_server")
            settings = mongo.settings(poll_s=0.05, timeout_s=30.0)
            ledger = MongoLedger(await stack.enter_async_context(MongoDatabase(settings)))
        else:
            ledger = SqliteLedger(await stack.enter_async_context(Database(tmp_path / "ion.db")))
        yield Opened(await open_stores(stack, ledger, tmp_path))


# ---- applying -----------------------------------------------------------------------------------------------------


async def test_applying_tells_what_it_does_to_each(opened: Opened) -> None:
    """New ones are added, others changed, field by field, or left alone; each with its revision, by name."""
    assert await opened.fates(DETECT, COUNT) == {"count": Fate.ADDED, "detect": Fate.ADDED}
    slower = msgspec.structs.replace(
        DETECT, timeout_s=7200.0, resources=Resources(memory=1024), env={"A": "1"}, emits=("face", "none")
    )
    applied = await opened.modules.apply(modules=(slower, COUNT))
    assert applied.changes == (
        Change(module="count", fate=Fate.UNCHANGED, revision=revise(COUNT).id),
        Change(
            module="detect",
            fate=Fate.CHANGED,
            revision=revise(slower).id,
            differences=(
                Difference(field="emits", old='["face"]', new='["face","none"]'),
                Difference(field="env.A", new='"1"'),
                Difference(field="resources.memory", old="0", new="1024"),
                Difference(field="timeout_s", old="3600", new="7200"),
            ),
        ),
    )
    assert [one.module for one in await opened.modules.list()] == [COUNT, slower]


async def test_a_dry_run_changes_nothing(opened: Opened) -> None:
    """It tells the same, of removals too."""
    await opened.fates(DETECT, pipeline="")
    media = msgspec.structs.replace(COUNT, pipeline="media")
    await opened.fates(media, pipeline="media")
    before = await opened.modules.list()
    other = msgspec.structs.replace(media, name="other")
    fates = await opened.fates(other, pipeline="media", prune=True, dry=True)
    assert fates == {"count": Fate.REMOVED, "other": Fate.ADDED}
    assert await opened.modules.list() == before
    assert await opened.fates(other, pipeline="media", prune=True) == fates
    assert await opened.names() == ["detect", "other"]


async def test_pruning_without_a_name_keeps_to_the_file(opened: Opened) -> None:
    """What came from another file, or from none, stays; where nothing says which it is, nothing is pruned."""
    one, two = (msgspec.structs.replace(COUNT, name=name, origin="/a/ion.yaml") for name in ("one", "two"))
    other = msgspec.structs.replace(COUNT, name="other", origin="/b/ion.yaml")
    await opened.fates(DETECT, one, two, other)
    assert await opened.fates(two, prune=True) == {"one": Fate.REMOVED, "two": Fate.UNCHANGED}
    assert await opened.names() == ["detect", "other", "two"]
    with pytest.raises(InvalidError, match="nothing says what to prune"):
        await opened.fates(DETECT, prune=True)


async def test_what_cannot_be_used_changes_nothing(opened: Opened) -> None:
    """One bad module among good ones, or a name of another pipeline, refuses all of them; so does a dry run."""
    await opened.fates(DETECT)
    bad = msgspec.structs.replace(COUNT, emits=("ion.x",))
    for dry in (True, False):
        with pytest.raises(InvalidError, match=r"module count: it may not raise 'ion\.x'"):
            await opened.fates(msgspec.structs.replace(DETECT, concurrency=9), bad, dry=dry)
        theirs = msgspec.structs.replace(DETECT, pipeline="theirs")
        with pytest.raises(ConflictError, match=r"detect belongs to the pipeline \(unnamed\)"):
            await opened.fates(theirs, pipeline="theirs", dry=dry)
    assert [one.module for one in await opened.modules.list()] == [DETECT]


async def test_what_is_odd_is_told(opened: Opened) -> None:
    """The graph is that of all registered modules; what has not changed is not told again."""
    loop = Module(name="loop", on=(Subscription(type="face"),), emits=("photo",), command=("true",))
    assert (await opened.modules.apply(modules=(DETECT,))).warnings == ()
    said = (await opened.modules.apply(modules=(loop,))).warnings
    assert any("events may go round for ever" in one for one in said)
    assert (await opened.modules.apply(modules=(loop,))) == Applied(
        changes=(Change(module="loop", fate=Fate.UNCHANGED, revision=revise(loop).id),)
    )


async def test_subscriptions_come_before_rows(tmp_path: Path) -> None:
    """While the bus is away a new subscription is refused, also by a rollback, and the registry stays as it was."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = NatsSettings(servers=(f"nats://127.0.0.1:{taken.getsockname()[1]}",), timeout_s=0.5)
        async with AsyncExitStack() as stack:
            ledger = SqliteLedger(await stack.enter_async_context(Database(tmp_path / "ion.db")))
            there = Opened(await open_stores(stack, ledger, tmp_path / "there"))
            other = msgspec.structs.replace(DETECT, on=(Subscription(type="clip"),))
            await there.fates(other)
            await there.fates(DETECT)
            bus = await stack.enter_async_context(NatsBus(nowhere))
            away = Opened(await open_stores(stack, ledger, tmp_path / "away", bus))
            for refused in (away.fates(COUNT), away.modules.rollback(name="detect")):
                with pytest.raises(UnavailableError):
                    await refused
            assert [one.module for one in await away.modules.list()] == [DETECT]


# ---- one module ---------------------------------------------------------------------------------------------------


async def test_a_module_is_shown_with_its_jobs(opened: Opened) -> None:
    """What waits, runs and died is counted, whatever flow it is of; with no dispatcher it is unserved."""
    await opened.fates(DETECT)
    assert (await opened.modules.get(name="detect")).standing == "ready"
    await opened.ledger.admit([waiting_job(flow=flow) for flow in "abcd"])
    one, two = await opened.ledger.claim(claim(2))
    await opened.ledger.settle(one.id, one.attempt, "one", Bury(failure=failure()))
    found = await opened.modules.get(name="detect")
    assert found.registered.module == DETECT
    assert found.jobs == {State.WAITING: 2, State.RUNNING: 1, State.DEAD: 1}
    assert found.oldest_s is not None
    assert (found.standing, found.served_by) == ("unserved", ())
    await opened.ledger.beat(Owner(id="one", scope="here", host="elsewhere", pid=1, modules=("detect",)))
    found = await opened.modules.get(name="detect")
    assert (found.standing, found.served_by) == ("ready", ("one",))
    assert two.id


async def test_names_are_found_by_what_was_deployed(opened: Opened) -> None:
    """The original's deployed name, of the present revision or an earlier one, is taken wherever a name is."""
    await opened.fates(DETECT)
    deployed = deployed_name(revise(DETECT))
    await opened.modules.scale(name=deployed, concurrency=2)
    for name in (deployed, deployed_name((await opened.modules.list())[0].revision), "detect"):
        assert (await opened.modules.get(name=name)).registered.module.concurrency == 2
    assert len([past async for past in opened.modules.history(name=deployed)]) == 2
    for unknown in ("detct", "detect-00000000"):
        with pytest.raises(NotFoundError, match="did you mean 'detect'"):
            await opened.modules.get(name=unknown)
    assert await opened.modules.delete(name=deployed)
    assert len([past async for past in opened.modules.history(name=deployed)]) == 3


async def test_a_name_that_looks_deployed_is_a_name(opened: Opened) -> None:
    """A module whose own name ends so is found by it."""
    odd = msgspec.structs.replace(DETECT, name=deployed_name(revise(DETECT)))
    await opened.fates(DETECT, odd)
    assert (await opened.modules.get(name=odd.name)).registered.module == odd


async def test_pausing_and_resuming(opened: Opened) -> None:
    """A paused module is shown so, by whichever name; resuming closes its breaker too."""
    tender = msgspec.structs.replace(DETECT, pause_after=1)
    await opened.fates(tender)
    await opened.ledger.admit([waiting_job(flow="f")])
    (job,) = await opened.ledger.claim(claim())
    await opened.ledger.settle(job.id, job.attempt, "one", Bury(failure=failure()))
    assert (await opened.modules.get(name="detect")).standing == "tripped"
    assert await opened.modules.pause(name="detect", paused=True) == tender
    assert (await opened.modules.get(name="detect")).standing == "paused"
    await opened.modules.pause(name="detect", paused=False)
    assert (await opened.modules.get(name="detect")).standing == "ready"


async def test_scaling_is_a_new_revision(opened: Opened) -> None:
    """With who did it in the history; the same number changes nothing, and one out of bounds is refused."""
    await opened.fates(DETECT)
    change = await opened.modules.scale(name="detect", concurrency=8)
    assert change.differences == (Difference(field="concurrency", old="4", new="8"),)
    assert (await opened.modules.scale(name="detect", concurrency=8)).fate is Fate.UNCHANGED
    with pytest.raises(InvalidError, match="from 1 to 10,000, not 0"):
        await opened.modules.scale(name="detect", concurrency=0)
    assert [past.actor async for past in opened.modules.history(name="detect")] == ["me", "me"]


async def test_rolling_back_takes_an_earlier_revision(opened: Opened) -> None:
    """The one before the present, or the one named by its beginning; one it never had is not found."""
    revisions = [revise(msgspec.structs.replace(DETECT, concurrency=number)) for number in (1, 2, 3)]
    with pytest.raises(NotFoundError, match="there is no module 'detect'"):
        await opened.modules.rollback(name="detect")
    await opened.fates(revisions[0].module)
    with pytest.raises(NotFoundError, match="detect never had another revision"):
        await opened.modules.rollback(name="detect")
    for one in revisions[1:]:
        await opened.fates(one.module)
    assert (await opened.modules.rollback(name="detect")).revision == revisions[1].id
    named = await opened.modules.rollback(name="detect", revision=revisions[0].id[:9])
    assert named.differences == (Difference(field="concurrency", old="2", new="1"),)
    assert [past.revision async for past in opened.modules.history(name="detect")] == [
        revisions[number] for number in (0, 1, 2, 1, 0)
    ]
    with pytest.raises(NotFoundError, match="never had a revision that begins with 'x'"):
        await opened.modules.rollback(name="detect", revision="x")


async def test_deleting_leaves_waiting_jobs_to_be_buried(opened: Opened) -> None:
    """The module is gone, its history stays, and what waited waits for its dead letter; again it is not found."""
    await opened.fates(DETECT)
    job = waiting_job(flow="f")
    await opened.ledger.admit([job])
    assert await opened.modules.delete(name="detect") == DETECT
    assert (await opened.ledger.get(job.id)).state is State.WAITING
    assert await opened.ledger.bury(job.id, failure(), "test")
    newest, *_ = [past async for past in opened.modules.history(name="detect")]
    assert (newest.removed, newest.actor) == (True, "me")
    with pytest.raises(NotFoundError):
        await opened.modules.delete(name="detect")


async def test_deleting_may_cancel_what_waits(opened: Opened) -> None:
    """Every waiting job of that module is cancelled, held ones too; another's is not, nor one that runs."""
    await opened.fates(DETECT, COUNT)
    jobs = [waiting_job(flow=flow) for flow in ("a", "a", "b")]
    running, other = waiting_job(flow="c"), waiting_job(flow="a", module="count")
    await opened.ledger.admit([running])
    assert await opened.ledger.claim(claim())
    await opened.ledger.admit([*jobs, other])
    await opened.modules.delete(name="detect", cancel=True)
    states = [(await opened.ledger.get(job.id)).state for job in (*jobs, running, other)]
    assert states == [State.CANCELLED] * 3 + [State.RUNNING, State.WAITING]


async def test_a_module_never_applied_has_no_history(opened: Opened) -> None:
    """It is not found; a removed one is."""
    with pytest.raises(NotFoundError, match="was never applied"):
        _ = [past async for past in opened.modules.history(name="nothing")]


async def test_changes_by_two_people_at_once_are_both_kept(opened: Opened) -> None:
    """Modules applied at the same time by two are all registered."""
    you = Opened(opened.stores, actor="you")
    await asyncio.gather(opened.fates(DETECT), you.fates(COUNT))
    assert await opened.names() == ["count", "detect"]
    assert [past.actor async for past in opened.modules.history(name="count")] == ["you"]
