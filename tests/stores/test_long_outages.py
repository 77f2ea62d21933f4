"""Two hours without the ledger, or without the blob store, while jobs run: by the clock of the simulation.

Dispatchers, ledger and documents are real; time, the place where attempts run and the blob store are simulated. A store
that is away answers every call with UnavailableError, as its adapter would.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.simulation import executions
from tests.simulation.actions import failure
from tests.simulation.member import RECONCILE_S, Member
from tests.simulation.place import Attempt
from tests.simulation.wholes import unfinished
from tests.simulation.world import World

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.backoff import MOST_S
from ion.dispatcher.breaker import PROBE_MOST_S
from ion.errors import UnavailableError
from ion.management.audit import audit
from ion.management.events import RootEvent, raise_event
from ion.model import ids
from ion.model.job import FailureClass, State
from ion.model.module import Module, Resources, Retries, Subscription

SEEDS = range(8)
MINUTE_S, HOURS = 60.0, 2
ROOTS = 6
LEDGERS = ("SqliteLedger.", "SqliteDocuments.", "NotingBus.")
"""One database: what is in it is away together."""


def modules() -> list[Module]:
    """`look` may take four hours, `glance` half an hour, and both begin with `photo`. Nothing lost is tried again."""
    times = {"look": ("photo", ("face",), 4 * 3600.0), "glance": ("photo", (), 1800.0), "count": ("face", (), 60.0)}
    return [
        Module(
            name=name,
            on=(Subscription(type=hears),),
            emits=raises,
            retries=Retries(module=0, timeout=0, memory=0, lost=0),
            resources=Resources(cpu=0.1),
            concurrency=50,
            timeout_s=timeout_s,
        )
        for name, (hears, raises, timeout_s) in times.items()
    ]


class Outage:
    """A world with two dispatchers at one place, the second of which may be at another."""

    def __init__(self, world: World, *, apart: bool) -> None:
        self.world = world
        self.calls: Counter[str] = Counter()
        """How often each dispatcher asked the ledger or its like since it was last looked at."""
        self.away = False
        world.holds, world.max_jobs, world.max_hops = 0.0, 1000, 32
        world.modules = modules()
        world.concurrency = {module.name: module.concurrency for module in world.modules}
        world.apply(*world.modules)
        for place in (world.places[0], world.places[1 if apart else 0]):
            self._listen(world.start(place))
        world.pass_time(MINUTE_S)

    def _listen(self, member: Member) -> None:
        before = member.line.before

        def asked(verb: str) -> None:
            before(verb)
            if verb.startswith(LEDGERS):
                self.calls[member.line.name] += 1
                if self.away:
                    raise UnavailableError(f"{verb} is away")

        member.line.before = asked

    def raise_roots(self) -> None:
        world, moment = self.world, datetime.fromtimestamp(self.world.clock(), UTC)
        for _ in range(ROOTS):
            key = ids.new_id()
            root = RootEvent(type="photo", id=key, correlation_id=key)
            world.do(raise_event(root, gateway="f", ledger=world.ledger, blobs=world.blobs, clock=lambda: moment))
        self.world.pass_time(MINUTE_S)

    def running(self, module: str) -> list[Attempt]:
        return [one for one in self.world.attempts() if one.assignment.job.module == module]

    def succeed(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            executions.execute(self.world, attempt)
            attempt.succeed(attempt.stored[0])
        self.world.loop.turn()

    def pass_minutes(self, minutes: int) -> Iterator[int]:
        for minute in range(minutes):
            yield minute
            self.world.pass_time(MINUTE_S)

    def states(self, module: str) -> Counter[State]:
        return Counter(job.state for job in self.world.witness.jobs.values() if job.module == module)

    def finish(self, *, minutes: int = 5) -> None:
        """Everything ends well, within so many minutes."""
        for _ in self.pass_minutes(minutes):
            self.succeed(self.world.attempts())
        self.world.check(anyway=True)
        assert unfinished(self.world.witness) == []
        assert {job.state for job in self.world.witness.jobs.values()} == {State.RELEASED}
        task = self.world.loop.create_task(_audited(self.world))
        self.world.loop.turn()
        assert task.result() == []


async def _audited(world: World) -> list[str]:
    return [found.message async for found in audit(world.ledger, world.documents, world.blobs)]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    database = Database(None)
    asyncio.run(database.__aenter__())
    yield database
    asyncio.run(database.__aexit__(None, None, None))


@contextmanager
def outage(seed: int, database: Database, *, apart: bool) -> Iterator[Outage]:
    random.seed(seed)
    with TemporaryDirectory() as locks:
        world = World(seed, database, Path(locks), SqliteLedger)
        try:
            yield Outage(world, apart=apart)
        finally:
            for member in world.living():
                member.kill()
            world.loop.turn()


@pytest.mark.parametrize("apart", [False, True], ids=["one place", "two places"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_ledger_that_is_away_for_two_hours_costs_nothing_but_time(
    database: Database, seed: int, *, apart: bool
) -> None:
    """What ran runs on, what ended meanwhile is decided with one look after the return, nothing counts as lost."""
    with outage(seed, database, apart=apart) as out:
        out.raise_roots()
        assert (len(out.running("look")), len(out.running("glance"))) == (ROOTS, ROOTS)
        out.away = True
        for minute in out.pass_minutes(60 * HOURS):
            out.calls.clear()
            if minute == 10:
                out.succeed(out.running("glance"))
            if minute == 60:
                out.succeed(out.running("look")[: ROOTS // 2])
        for asked in out.calls.values():  # in the last minute: each of its loops, and each job that ended
            assert asked <= (12 + ROOTS + ROOTS // 2) * MINUTE_S / (MOST_S / 2)
        assert not out.world.witness.faults
        assert out.states("look") == {State.RUNNING: ROOTS}
        out.away = False
        out.world.pass_time(RECONCILE_S)
        assert out.states("glance") == {State.RELEASED: ROOTS}
        assert out.states("look") == {State.RELEASED: ROOTS // 2, State.RUNNING: ROOTS - ROOTS // 2}
        assert len(out.running("look")) == ROOTS - ROOTS // 2
        assert out.states("count")[State.RUNNING] == out.states("count").total()
        out.world.pass_time(10 * MINUTE_S)
        out.finish()
        assert {(job.state, job.attempt) for job in out.world.witness.jobs.values() if job.attempt} == {
            (State.RELEASED, 1)
        }


@pytest.mark.parametrize("seed", range(3))
def test_blobs_that_are_away_for_two_hours_cost_nothing_but_time(database: Database, seed: int) -> None:
    """What cannot be stored is tried again, at bounded intervals; no budget of the module's is touched."""
    with outage(seed, database, apart=False) as out:
        out.raise_roots()
        kept = out.running("look")[: ROOTS // 2]
        for attempt in kept:  # what they left is stored, and nobody has been told yet
            executions.execute(out.world, attempt)
        out.world.blobs.away = True
        begun: Counter[str] = Counter()
        seen: set[object] = set()
        for minute in out.pass_minutes(60 * HOURS):
            if minute == 60:
                begun.clear()
            if minute == 70:
                for attempt in kept:
                    attempt.succeed(attempt.stored[0])
            for attempt in out.world.attempts():
                if attempt.handle not in seen and attempt not in kept:
                    seen.add(attempt.handle)
                    begun[attempt.handle.job] += 1
                    attempt.fail(failure(FailureClass.INFRASTRUCTURE))
        waits_s = Retries().backoff_most_s / 2
        assert 1 <= sum(begun.values()) <= (2 * ROOTS - len(kept)) * (60 * MINUTE_S / waits_s + 1)
        assert not out.world.witness.faults
        assert State.DEAD not in out.states("look") + out.states("glance")
        out.world.blobs.away = False
        out.world.pass_time(PROBE_MOST_S)
        assert out.running("look") + out.running("glance")  # each breaker lets one through, and the rest when that ends
        out.finish(minutes=int(Retries().backoff_most_s / MINUTE_S) + 5)
        for job in out.world.witness.jobs.values():
            failures = out.world.do(out.world.ledger.get(job.id)).failures
            assert set(failures) <= {FailureClass.INFRASTRUCTURE}
            assert failures or job.attempt <= 1
