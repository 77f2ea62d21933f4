"""What callers may do: roles and pipelines, by the real API over TLS."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.management.access.conftest import COUNT, DETECT, World

from ion.errors import ConflictError, DeniedError, InvalidError, IonError, NotFoundError
from ion.management.created import deployed_name
from ion.management.dead_letters import LetterFilter
from ion.management.usage import By
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.model.job import State
from ion.model.module import revise
from ion.model.role import Role
from ion.ports.ledger import Control, JobFilter

replace = msgspec.structs.replace


async def test_a_viewer_reads_and_changes_nothing(world: World) -> None:
    """What it is refused is named with the role that it takes."""
    (job,) = await world.raised("photo")
    async with world.serving() as port, world.client("vera", Role.VIEWER).to(port) as vera:
        assert (await vera.jobs.get(job=job.id)).id == job.id
        assert len(await vera.modules.list()) == 4
        with pytest.raises(DeniedError, match="this needs the role operator, and vera is viewer here"):
            await vera.jobs.cancel(jobs=(job.id,))
        with pytest.raises(DeniedError, match="operator"):
            await vera.events.create(event=NewEvent(type="photo"))
        with pytest.raises(DeniedError, match="operator"):
            await vera.flows.control(flow=job.correlation_id, control=Control.CANCELLED)
    assert (await world.ledger.get(job.id)).state is State.WAITING


async def test_an_operator_keeps_things_going_and_applies_nothing(world: World) -> None:
    """Not even by another image for dead letters."""
    (job,) = await world.raised("photo")
    async with world.serving() as port, world.client("olga", Role.OPERATOR).to(port) as olga:
        await olga.modules.pause(name="detect", paused=True)
        await olga.modules.scale(name="detect", concurrency=2)
        await olga.jobs.cancel(jobs=(job.id,))
        await olga.jobs.retry(jobs=(job.id,))
        with pytest.raises(DeniedError, match="this needs the role admin, and olga is operator here"):
            await olga.modules.delete(name="detect")
        with pytest.raises(DeniedError, match="admin"):
            await olga.modules.apply(modules=(DETECT,), pipeline="media")
        with pytest.raises(DeniedError, match="admin"):
            _ = [one async for one in olga.letters.redrive(which=LetterFilter(), everything=True, image="x:2")]
        with pytest.raises(DeniedError, match="admin"):
            await olga.server.collect()
    assert len(await world.ledger.modules()) == 4


async def test_what_is_of_another_pipeline_is_refused(world: World) -> None:
    """Jobs, flows, modules, events, subscriptions: by whatever verb, whoever small the role is that it takes."""
    (theirs,) = await world.raised("page")
    flow, since = theirs.correlation_id, datetime.now(UTC) - timedelta(hours=1)

    async def drained(rows: object) -> None:
        _ = [row async for row in rows]  # type: ignore[attr-defined]

    def attempts(m: Management) -> dict[str, object]:
        named = JobFilter(module="count")
        return {
            "get": lambda: m.jobs.get(job=theirs.id),
            "beginning": lambda: m.jobs.show(job=theirs.id[:13]),
            "log": lambda: drained(m.jobs.log(job=theirs.id)),
            "read": lambda: drained(m.jobs.read(job=theirs.id, role="in", path="x")),
            "files": lambda: m.jobs.files(job=theirs.id),
            "work": lambda: m.jobs.work(job=theirs.id),
            "page": lambda: m.jobs.page(which=named),
            "latest": lambda: m.jobs.latest(which=named),
            "retry": lambda: m.jobs.retry(jobs=(theirs.id,)),
            "cancel": lambda: m.jobs.cancel(jobs=(theirs.id,)),
            "rerun": lambda: drained(m.jobs.rerun(module="count")),
            "rerun dry": lambda: drained(m.jobs.rerun(flow=flow, dry=True)),
            "rerun all": lambda: drained(m.jobs.rerun(since=since)),
            "letters": lambda: drained(m.letters.list(which=LetterFilter(module="count"))),
            "redrive": lambda: drained(m.letters.redrive(which=LetterFilter(correlation_id=flow))),
            "redrive all": lambda: drained(m.letters.redrive(which=LetterFilter(), everything=True)),
            "flow": lambda: m.flows.get(flow=flow),
            "control": lambda: m.flows.control(flow=flow, control=Control.CANCELLED),
            "prioritise": lambda: m.flows.prioritise(flow=flow, priority=1),
            "wait": lambda: m.flows.wait(flow=flow),
            "records": lambda: drained(m.flows.records(flow=flow)),
            "tree": lambda: drained(m.flows.tree(flow=flow)),
            "report": lambda: drained(m.flows.report(flow=flow)),
            "module": lambda: m.modules.get(name="count"),
            "deployed": lambda: m.modules.pause(name=deployed_name(revise(COUNT)), paused=True),
            "pause": lambda: m.modules.pause(name="count", paused=True),
            "scale": lambda: m.modules.scale(name="count", concurrency=1),
            "delete": lambda: m.modules.delete(name="count"),
            "rollback": lambda: m.modules.rollback(name="count"),
            "history": lambda: drained(m.modules.history(name="count")),
            "apply": lambda: m.modules.apply(modules=(COUNT,), pipeline="books"),
            "capture": lambda: m.modules.apply(modules=(replace(COUNT, pipeline="media"),), pipeline="media"),
            "apply nameless": lambda: m.modules.apply(modules=(replace(DETECT, name="new", pipeline=""),)),
            "event": lambda: m.events.create(event=NewEvent(type="page")),
            "event for both": lambda: m.events.create(event=NewEvent(type="mixed")),
            "event into a flow": lambda: m.events.create(event=NewEvent(type="photo", correlation_id=flow)),
            "peek": lambda: drained(m.events.next(event_type="page", group=COUNT.group, timeout_s=0, take=False)),
            "subscribe": lambda: drained(m.events.next(event_type="page", group=DETECT.group, timeout_s=0, take=False)),
            "replay": lambda: m.bus.replay(since=since, module="count"),
            "replay all": lambda: m.bus.replay(since=since),
            "why": lambda: m.findings.why(job=theirs.id),
            "insights": lambda: drained(m.findings.insights(module="count")),
            "doctor": lambda: drained(m.server.doctor()),
            "audit": lambda: drained(m.server.audit()),
            "usage": lambda: m.server.usage(by=By.MODULE),
            "collect": m.server.collect,
            "trail": lambda: drained(m.server.trail()),
        }

    async with world.serving() as port, world.client("adam", Role.ADMIN, "media").to(port) as adam:
        got = {name: await outcome(go) for name, go in attempts(adam).items()}
    assert {name: said for name, said in got.items() if said is not DeniedError} == {}
    assert (await world.ledger.get(theirs.id)).state is State.WAITING


async def outcome(go: object) -> object:
    """The kind of error, or what it gave."""
    try:
        return await go()  # type: ignore[operator]
    except IonError as error:
        return type(error)


async def test_what_is_of_the_own_pipeline_is_allowed(world: World) -> None:
    """By the same verbs."""
    (job,) = await world.raised("photo")
    flow = job.correlation_id
    async with world.serving() as port, world.client("adam", Role.ADMIN, "media").to(port) as adam:
        assert (await adam.jobs.get(job=job.id[:13])).id == job.id
        await adam.jobs.cancel(jobs=(job.id,))
        await adam.jobs.retry(jobs=(job.id,))
        assert (await adam.flows.get(flow=flow)).flow.correlation_id == flow
        await adam.flows.prioritise(flow=flow, priority=3)
        root = [line.job async for line in adam.flows.tree(flow=flow)]
        assert [one.module for one in root] == ["cli", "detect"]
        assert [cause.job.module for cause in await adam.findings.why(job=job.id)] == ["detect", "cli"]
        await adam.modules.scale(name=deployed_name(revise(DETECT)), concurrency=3)
        assert [past.actor async for past in adam.modules.history(name="detect")] == ["adam", "test"]
        await adam.modules.apply(modules=(replace(DETECT, name="new"),), pipeline="media")
        await adam.modules.delete(name="new")
        assert [past.removed async for past in adam.modules.history(name="new")] == [True, False]
        raised = await adam.events.create(event=NewEvent(type="photo", correlation_id=flow))
        assert raised.event.correlation_id == flow
        with pytest.raises(NotFoundError):
            await anext(adam.events.next(event_type="photo", group=DETECT.group, timeout_s=0, take=False))
        with pytest.raises((ConflictError, InvalidError)):
            await adam.modules.rollback(name="also")


async def test_lists_are_narrowed_to_the_own_pipeline(world: World) -> None:
    """What is another's is left out, and the sums are those of what is left."""
    (theirs,) = await world.raised("page")
    (ours,) = await world.raised("photo")
    for job in (theirs, ours):
        await world.ledger.cancel(job.id, "test")
    await world.raised("mixed", flow="shared")
    async with world.serving() as port, world.client("vera", Role.VIEWER, "media").to(port) as vera:
        page = await vera.jobs.page(which=JobFilter())
        assert sorted(job.module for job in page.jobs) == ["also", "detect"]
        latest = await vera.jobs.latest(which=JobFilter(), most=1)
        assert ([job.module for job in latest.jobs], latest.total) == (["also"], 2)
        assert [one.module.name for one in await vera.modules.list()] == ["also", "detect"]
        assert [one.flow.correlation_id for one in await vera.flows.list(most=1)] == [ours.correlation_id]
        assert {one.module for one in (await vera.bus.depths()).depths} <= {"also", "detect"}
        overview = await vera.server.overview()
        assert ([one.registered.module.name for one in overview.modules], overview.open) == (["also", "detect"], 1)
        assert [one async for one in vera.letters.list(which=LetterFilter())] == []
        in_flow = await vera.jobs.page(which=JobFilter(correlation_id="shared"))
        assert [job.module for job in in_flow.jobs] == ["also"]
        with pytest.raises(DeniedError, match="flow shared is not of the pipelines of vera"):
            await vera.flows.get(flow="shared")


async def test_a_name_that_looks_deployed_gives_nothing_of_another_pipeline(world: World) -> None:
    """Also where a module of one's own was called so once: the verb would go to the other's."""
    name = deployed_name(revise(COUNT))
    async with world.serving() as port, world.client("adam", Role.ADMIN, "media").to(port) as adam:
        await adam.modules.apply(modules=(replace(DETECT, name=name),), pipeline="media")
        await adam.modules.delete(name=name)
        with pytest.raises(DeniedError, match=f"module '{name}'"):
            await adam.modules.pause(name=name, paused=True)
    assert not any(one.paused for one in await world.ledger.modules())
