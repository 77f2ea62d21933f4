"""Claims of modules with rules: each job is claimed where it belongs, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.dispatcher.conftest import PATIENCE_S

from ion.dispatcher.claim import LOOK_AGAIN_S, Claims, Running
from ion.dispatcher.routing import LOOK_MOST, READ_MOST, Routing, place_of
from ion.dispatcher.slots import Slots
from ion.errors import UnavailableError, UnsupportedError
from ion.model.event import Event, FileRef
from ion.model.job import Failure, FailureClass, Hold, Job, State
from ion.model.module import Resources, Revision, Rule, revise
from ion.ports.executor import Executor, Status
from ion.ports.ledger import Owner, Registered, Retry
from ion.testing.conformance.bus_harness import made
from ion.testing.conformance.ledger_stage import failure, waiting_job
from ion.testing.local import open_local

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

BIG = Rule(size_least=1000, provider="kubernetes")
VIDEO = Rule(filters=({"exact": {"data.kind": "video"}},), provider="kubernetes")
OVERFLOW = Rule(waited_s=600.0, provider="kubernetes")
HELD = "sleep 1000"


class Pods:
    """The executor of this machine, if it took modules with an image only, as clusters do."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def check(self, revision: Revision) -> None:
        if not revision.module.image:
            raise UnsupportedError(f"module {revision.module.name} has no image")


class Host:
    """One dispatcher's claims, with some of the providers; each runs real processes of this machine."""

    def __init__(self, bench: "Bench", owner: str, **executors: Any) -> None:
        self.bench, self.owner = bench, owner
        self.running = Running()
        self.slots = {name: Slots(executor.capacity) for name, executor in executors.items()}
        self.failed: list[Status] = []
        self.claims = Claims(
            bench.ledger,
            executors,
            self.running,
            self.slots,
            owner=owner,
            spare=lambda: 1.0,
            started=lambda _: None,
            failed=lambda status, _: self.failed.append(status),
        )

    async def round(self, *owners: Owner) -> float:
        self.claims.know(await self.bench.ledger.modules(), owners)
        return await self.claims.round()

    def places(self) -> dict[str, str]:
        """Where jobs run, by their ids."""
        return {job: provider for (job, _), (_, provider) in self.running.jobs.items()}

    async def fail(self, job: Job) -> None:
        """The attempt ends, and is to be tried again at once."""
        assert await self.bench.ledger.settle(job.id, job.attempt, self.owner, Retry(failure=failure(), delay_s=0.0))
        self.running.drop(self.bench.handle(job))
        for slots in self.slots.values():
            slots.give(job.id, job.attempt)


@pytest.fixture
async def away(bench: "Bench") -> AsyncIterator[Executor]:
    """What stands for another provider than `local`: an executor of its own."""
    async with open_local(bench.folder / "away") as executor:
        yield executor


async def job(bench: "Bench", *, size: int = 0, flow: str = "", **data: Any) -> Job:
    files = (FileRef(path="a", blob="none", size=size),) if size else ()
    changes = {"correlation_id": flow} if flow else {}
    return await bench.admitted(event=made("photo", files=files, data=data, **changes))


async def test_each_job_runs_where_the_rules_say(bench: "Bench", away: Executor) -> None:
    """By the size of its files, by its data, and else at the module's own provider; the row tells where."""
    await bench.module("detect", HELD, route=(BIG, VIDEO))
    small, big, video = await job(bench), await job(bench, size=1000), await job(bench, kind="video")
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    assert host.places() == {small.id: "local", big.id: "kubernetes", video.id: "kubernetes"}
    assert [(await bench.ledger.get(one.id)).route for one in (small, big)] == ["local!0", "kubernetes!0"]
    assert not host.failed


async def test_the_history_tells_why(bench: "Bench", away: Executor) -> None:
    """Which rule sent it there, in the words of the file, and who looked."""
    await bench.module("detect", HELD, route=(VIDEO, BIG))
    big = await job(bench, size=1000)
    await Host(bench, "one", local=bench.executor, kubernetes=away).round()
    notes = [(change.actor, change.note) for change in (await bench.ledger.get(big.id)).history]
    assert ("one", "for kubernetes: rule 2 (size >=1000)") in notes


async def test_a_dispatcher_without_the_provider_leaves_the_job_to_one_that_has_it(
    bench: "Bench", away: Executor
) -> None:
    """It is routed by the first, untouched otherwise, and claimed by the second."""
    await bench.module("detect", HELD, route=(BIG,))
    big, small = await job(bench, size=1000), await job(bench)
    near, far = Host(bench, "one", local=bench.executor), Host(bench, "two", kubernetes=away)
    await near.round()
    await far.round()
    assert near.places() == {small.id: "local"}
    assert far.places() == {big.id: "kubernetes"}
    assert (await bench.ledger.get(big.id)).attempt == 1


async def test_what_nobody_here_can_run_is_said_once(bench: "Bench", caplog: pytest.LogCaptureFixture) -> None:
    """The provider that is missing, and those that are here."""
    await bench.module("detect", HELD, route=(BIG,))
    await job(bench, size=1000)
    host = Host(bench, "one", local=bench.executor)
    for _ in range(3):
        await host.round()
    said = [record.message for record in caplog.records]
    assert said == [
        "jobs of module detect are left to others: they are for the provider 'kubernetes', and here is local"
    ]


async def test_a_full_place_does_not_hold_up_the_other(bench: "Bench", away: Executor) -> None:
    """A backlog for one provider, however long, stands beside what is for the other."""
    await bench.module("detect", HELD, route=(BIG,), concurrency=100, resources=Resources(cpu=4.0))
    for _ in range(20):
        await job(bench, size=1000)
    small = await job(bench)
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    assert sorted(host.places().values()) == ["kubernetes", "local"]
    assert host.places()[small.id] == "local"


async def test_who_has_waited_long_enough_goes_elsewhere(bench: "Bench", away: Executor) -> None:
    """Not a moment before, and what runs already stays where it is."""
    await bench.module("detect", HELD, route=(OVERFLOW,), concurrency=100, resources=Resources(cpu=4.0))
    first, second = await job(bench), await job(bench)
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    (runs,) = host.places()
    waits = second if runs == first.id else first
    bench.pass_time(599.0)
    await Host(bench, "two", kubernetes=away).round()
    assert (await bench.ledger.get(waits.id)).state is State.WAITING
    bench.pass_time(1.0)
    await Host(bench, "three", kubernetes=away).round()
    moved = await bench.ledger.get(waits.id)
    assert (moved.state, moved.owner, moved.route) == (State.RUNNING, "three", "kubernetes!0")
    assert (await bench.ledger.get(runs)).route == "local!0"


async def test_a_round_is_due_again_when_a_job_has_waited_long_enough(bench: "Bench") -> None:
    """Nobody has to bring news for that."""
    await bench.module("detect", HELD, route=(Rule(waited_s=2.0, provider="kubernetes"),), concurrency=1)
    await job(bench)
    await job(bench)
    host = Host(bench, "one", local=bench.executor)
    await host.round()
    again_s = await host.round()
    assert 0.0 < again_s <= 2.0 < LOOK_AGAIN_S


async def test_a_job_that_was_queued_again_has_waited_since_then(bench: "Bench", away: Executor) -> None:
    """Years as a dead letter are not a wait for room."""
    await bench.module("detect", HELD, route=(OVERFLOW,))
    waiting = await job(bench)
    await bench.ledger.cancel(waiting.id, "me")
    bench.pass_time(10_000.0)
    await bench.ledger.requeue(waiting.id, "me")
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    assert host.places() == {waiting.id: "local"}


async def test_a_job_that_a_guard_held_has_waited_since_it_was_freed(bench: "Bench", away: Executor) -> None:
    """A person who frees it after hours queues it again by hand, as they do with a dead letter."""
    await bench.module("detect", HELD, route=(OVERFLOW,))
    held = await bench.admitted(hold=Hold.HOPS)
    bench.pass_time(10_000.0)
    assert await bench.ledger.requeue(held.id, "me")
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    assert host.places() == {held.id: "local"}


async def test_a_retry_keeps_its_place(bench: "Bench", away: Executor) -> None:
    """As it keeps its revision, though it has waited long enough by now, and whatever the rules say since."""
    module = await bench.module("detect", HELD, route=(OVERFLOW,))
    first = await job(bench)
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    bench.pass_time(10_000.0)
    await bench.module("detect", HELD, route=(Rule(waited_s=1.0, provider="kubernetes"),))
    await host.fail(await bench.ledger.get(first.id))
    await host.round()
    again = await bench.ledger.get(first.id)
    assert (again.attempt, again.route, host.places()) == (2, "local!0", {first.id: "local"})
    assert (await bench.ledger.revision("detect", again.revision)).module == module


async def test_rules_that_come_later_do_not_move_what_has_begun(bench: "Bench", away: Executor) -> None:
    """A retry of a job that began without any rules stays where its revision runs, which may be nowhere else."""
    await bench.module("detect", HELD)
    begun = await job(bench, size=1000)
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    await host.round()
    await bench.module("detect", HELD, image="i", runtime="process", route=(BIG,))
    await host.fail(await bench.ledger.get(begun.id))
    await host.round()
    again = await bench.ledger.get(begun.id)
    assert (again.attempt, again.route, host.places()) == (2, "local!0", {begun.id: "local"})


async def test_a_retry_whose_revision_cannot_run_where_its_module_does_now_is_final(bench: "Bench") -> None:
    """Its module moved to another provider meanwhile; a person is told at once what to do, not after a day of tries."""
    await bench.module("detect", HELD)
    begun = await job(bench)
    host = Host(bench, "one", local=bench.executor, kubernetes=Pods(bench.executor))
    await host.round()
    old = (await bench.ledger.get(begun.id)).revision
    await bench.module("detect", HELD, image="i", provider="kubernetes")
    await host.fail(await bench.ledger.get(begun.id))
    await host.round()
    (failed,) = host.failed
    assert failed.failure == Failure(
        kind=FailureClass.CONTRACT,
        message=f"it began with the revision {old}, which kubernetes cannot run, where its module runs now: module "
        "detect has no image; queue it again by hand to run the present one",
    )


async def test_rules_that_are_applied_anew_reach_what_waits(bench: "Bench", away: Executor) -> None:
    """Also what no rule had looked at before, and what loses all rules."""
    await bench.module("detect", HELD)
    big = await job(bench, size=1000)
    far = Host(bench, "one", kubernetes=away)
    await far.round()
    assert not far.places()
    await bench.module("detect", HELD, route=(BIG,))
    await Host(bench, "two").round()
    assert (await bench.ledger.get(big.id)).route.startswith("kubernetes!0@")
    await bench.module("detect", HELD)
    near = Host(bench, "three", local=bench.executor)
    await near.round()
    await near.claims.follow()
    await near.round()
    assert near.places() == {big.id: "local"}


async def test_a_backlog_loses_its_rules_at_once(bench: "Bench") -> None:
    """However many jobs were routed: the machine does not idle between one portion and the next."""
    await bench.module("detect", HELD, route=(VIDEO,), concurrency=1)
    await bench.ledger.admit([waiting_job(flow=f"f{n}") for n in range(2 * LOOK_MOST + 50)])
    router = Host(bench, "one")
    while await router.round() == 0.0:
        pass
    await bench.module("detect", HELD, concurrency=1)
    host = Host(bench, "two", local=bench.executor)
    await host.round()
    await host.claims.follow()
    assert await bench.ledger.routes("detect") == {""}


async def test_nothing_is_claimed_by_old_rules(bench: "Bench", away: Executor) -> None:
    """A dispatcher that has read the new ones never takes what was routed by others, until it has looked at it."""
    await bench.module("detect", HELD, route=(BIG,))
    big = await job(bench, size=1000)
    await Host(bench, "one").round()
    await bench.module("detect", HELD, route=(Rule(size_least=2000, provider="kubernetes"),))
    host = Host(bench, "two", local=bench.executor, kubernetes=away)
    await host.round()
    assert host.places() == {big.id: "local"}


@pytest.mark.parametrize("old", [(BIG,), ()], ids=["other rules", "no rules"])
async def test_who_has_not_read_the_new_rules_undoes_nothing(bench: "Bench", old: tuple[Rule, ...]) -> None:
    """Two dispatchers of which one has old rules do not send a job to and fro until that one has read the new ones."""
    stale = Registered(revision=revise(await bench.module("detect", HELD, route=old)))
    module = await bench.module("detect", HELD, route=(Rule(size_least=2000, provider="kubernetes"),))
    waiting = await job(bench, size=1000)
    await Routing(bench.ledger, owner="new").look(Registered(revision=revise(module)))
    before = await bench.ledger.get(waiting.id)
    assert await Routing(bench.ledger, owner="old").look(stale) == ([], None)
    assert await bench.ledger.get(waiting.id) == before


async def test_a_rule_gives_jobs_priority(bench: "Bench") -> None:
    """Those it holds for go first, above any priority of a flow; flows' own count among them."""
    urgent = Rule(filters=({"exact": {"data.kind": "urgent"}},), priority=1)
    await bench.module("detect", HELD, route=(urgent,), resources=Resources(cpu=4.0))
    plain = [await job(bench, flow="plain") for _ in range(2)]
    await bench.ledger.prioritise("plain", 1000)
    first, second = await job(bench, kind="urgent"), await job(bench, kind="urgent", flow="fast")
    await bench.ledger.prioritise("fast", 5)
    order: list[str] = []
    for _ in range(3):
        host = Host(bench, "one", local=bench.executor)
        await host.round()
        order += host.places()
    assert order[:2] == [second.id, first.id]
    assert order[2] in {one.id for one in plain}


async def test_a_rule_of_waiting_ends_what_priorities_would_put_off_for_ever(bench: "Bench") -> None:
    """Urgent jobs keep coming; a plain one is before them once it has waited for as long as the first rule says."""
    urgent = Rule(filters=({"exact": {"data.kind": "urgent"}},), priority=10)
    rules = (Rule(waited_s=3600.0, priority=100), urgent)
    await bench.module("detect", HELD, route=rules, resources=Resources(cpu=4.0))
    plain = await job(bench)
    for passes_s, first in ((3599.0, False), (1.0, True)):
        await job(bench, kind="urgent")
        bench.pass_time(passes_s)
        host = Host(bench, "one", local=bench.executor)
        await host.round()
        assert (list(host.places()) == [plain.id]) == first


async def test_a_module_of_higher_priority_comes_first(bench: "Bench") -> None:
    """Where two wait for the same room, each time, whatever their names and turns are."""
    needs = Resources(cpu=4.0)
    await bench.module("detect", HELD, resources=needs)
    await bench.module("urgent", HELD, resources=needs, priority=2)
    await bench.ledger.admit([waiting_job(flow="f", module=name) for name in ("detect", "urgent") * 3])
    for _ in range(3):
        host = Host(bench, "one", local=bench.executor)
        await host.round()
        (runs,) = host.places()
        assert (await bench.ledger.get(runs)).module == "urgent"


async def test_a_backlog_is_routed_in_portions(bench: "Bench", away: Executor) -> None:
    """More jobs than are looked at in one go are all routed, and each round claims from what is."""
    await bench.module("detect", HELD, route=(VIDEO,), concurrency=1)
    await bench.ledger.admit([waiting_job(flow=f"f{n}") for n in range(LOOK_MOST + 50)])
    last = await job(bench, kind="video")
    host = Host(bench, "one", local=bench.executor, kubernetes=away)
    while await host.round() == 0.0:
        pass
    assert "" not in await bench.ledger.routes("detect")
    assert (await bench.ledger.get(last.id)).route.startswith("kubernetes!0")


async def test_the_concurrency_bounds_all_places_together(bench: "Bench", away: Executor) -> None:
    """And is not divided among dispatchers, of which one may have nothing to do."""
    await bench.module("detect", HELD, route=(BIG,), concurrency=3)
    for _ in range(4):
        await job(bench, size=1000)
        await job(bench)
    far = Host(bench, "two", kubernetes=away)
    others = [Owner(id=name, scope="x", host="x", pid=1, modules=("detect",)) for name in ("one", "two")]
    await far.round(*others)
    assert len(far.places()) == 3
    near = Host(bench, "one", local=bench.executor)
    await near.round(*others)
    assert not near.places()


async def test_data_in_blobs_is_read_side_by_side(bench: "Bench") -> None:
    """A look at many jobs does not take as long as all their reads one after the other, nor read them all at once."""
    module = await bench.module("detect", HELD, route=(VIDEO,))
    events = [made("photo", dataref=f"data{n}") for n in range(3 * READ_MOST)]
    jobs = [await bench.admitted(event=event) for event in events]
    together = asyncio.Barrier(READ_MOST)
    reading, most = 0, 0

    async def seen(event: Event) -> Event:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        async with asyncio.timeout(PATIENCE_S):
            await together.wait()
        reading -= 1
        return msgspec.structs.replace(event, data={"kind": "video"}, dataref="")

    await Routing(bench.ledger, owner="one", seen=seen).look(Registered(revision=revise(module)))
    assert most == READ_MOST
    assert {place_of((await bench.ledger.get(one.id)).route)[0] for one in jobs} == {"kubernetes"}


async def test_a_look_that_fails_leaves_no_read_behind(bench: "Bench") -> None:
    """The store that holds the data is away for one of them: that is raised once all others have been answered."""
    module = await bench.module("detect", HELD, route=(VIDEO,))
    for n in range(4):
        await bench.admitted(event=made("photo", dataref=f"data{n}"))
    answered = []

    async def seen(event: Event) -> Event:
        if event.dataref == "data0":
            raise UnavailableError("the blobs are away")
        await asyncio.sleep(0)
        answered.append(event.dataref)
        return event

    with pytest.raises(UnavailableError, match="the blobs are away"):
        await Routing(bench.ledger, owner="one", seen=seen).look(Registered(revision=revise(module)))
    assert sorted(answered) == ["data1", "data2", "data3"]
    assert await bench.ledger.routes("detect") == {""}


async def test_a_module_without_rules_is_asked_for_no_routes(bench: "Bench", monkeypatch: pytest.MonkeyPatch) -> None:
    """Its claims cost what they cost without any rules."""
    asked: list[str] = []
    for verb in ("routes", "on_route", "reroute", "now"):
        monkeypatch.setattr(bench.ledger, verb, lambda *_, verb=verb: asked.append(verb))
    await bench.module("detect", HELD)
    waiting = await job(bench)
    host = Host(bench, "one", local=bench.executor)
    await host.round()
    assert host.places() == {waiting.id: "local"}
    assert asked == []
