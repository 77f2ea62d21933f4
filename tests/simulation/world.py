"""A world to run schedules in: a store, places, dispatchers, and the dice that decide everything.

The store is real: ledger, documents and bus on one database in memory. Time, the places where attempts run and the blob
store are simulated. Every look at the whole happens between two turns of the loop.
"""

import asyncio
import random
import sqlite3
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.simulation.blobs import MemoryBlobs
from tests.simulation.line import Line
from tests.simulation.loop import VirtualLoop
from tests.simulation.member import Member, Phase
from tests.simulation.pipeline import AWAY, modules
from tests.simulation.place import CLUSTER, Attempt, Place
from tests.simulation.transitions import judge
from tests.simulation.wholes import faults_of
from tests.simulation.witness import Witness

from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.adapters.sqlite.wakeup import Wakeup
from ion.errors import IonError
from ion.model.event import Event
from ion.model.job import State
from ion.model.module import Module, revise
from ion.testing.conformance.ledger_stage import SetClock

TIMERS_MOST = 5_000


class Fault(AssertionError):  # noqa: N818  what is found is a fault of Ion's
    """A rule was broken."""


class NotingBus(SqliteBus):
    """Keeps which events were confirmed."""

    def __init__(self, database: Database, published: set[str]) -> None:
        super().__init__(database)
        self._published = published

    async def publish(self, events: Sequence[Event]) -> None:
        await super().publish(events)
        self._published.update(event.id for event in events)


class World:
    """Everything of one schedule. `database` is open and is wiped; `ledger_type` may be a broken one."""

    def __init__(self, seed: int, database: Database, folder: Path, ledger_type: type[SqliteLedger]) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop()  # type: ignore[abstract]
        self.clock = SetClock()
        self.database, self._folder, self._ledger_type = database, folder, ledger_type
        self.connection = _wiped(database)
        database._clock, database._wakeup = self.clock, Wakeup(None)
        self.witness = Witness(judge)
        self.witness.stamps = self._stamp
        self.witness.attach(self.connection)
        self.blobs = MemoryBlobs(self.clock)
        self.places = [Place("here"), Place("there"), Place(CLUSTER)]
        self.max_jobs, self.max_hops = self.dice.choice((4, 1000, 1000)), self.dice.choice((2, 32, 32))
        self.holds = self.dice.choice((0.05, 0.25, 0.5))
        self.ledger = ledger_type(database, max_jobs=self.max_jobs)
        self.documents = SqliteDocuments(database)
        self.members: list[Member] = []
        self._said: list[tuple[float, str, str]] = []
        self.flows: list[str] = []
        self._seen = (-1, -1)
        self.epoch = 0
        """Rises whenever the members, or what they serve, change."""
        self._stamps: dict[str, int | None] = {}
        self.modules = modules(self.dice)
        self.concurrency = {module.name: module.concurrency for module in self.modules}

    def say(self, line: str, more: str = "") -> None:
        self._said.append((self.loop.time(), line, more))

    def trace(self) -> list[str]:
        """What happened so far, for people."""
        return [f"{at:8.1f}  {line} {more}" for at, line, more in self._said]

    # ---- time and steps ---------------------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Does something from outside at once; an error of Ion's is its answer."""
        task = self.loop.create_task(work)
        self.loop.turn()
        if not task.done():
            raise AssertionError("what comes from outside waits for something")
        try:
            return task.result()
        except IonError as error:
            return error

    def pass_time(self, seconds: float) -> None:
        """Both clocks move on together."""
        until = self.loop.time() + seconds
        for _ in range(TIMERS_MOST):
            due = self.loop.next_timer()
            if due is None or due > until:
                self._move(until)
                return
            self._move(max(due, self.loop.time()))
            self.check()
        raise Fault(f"more than {TIMERS_MOST} timers in {seconds:.0f} s")

    def _move(self, when: float) -> None:
        self.clock.advance(when - self.loop.time())
        self.loop.pass_to(when)

    def check(self, *, anyway: bool = False) -> None:
        """Raises the first rule that is broken. The whole is looked at where anything in it has changed."""
        seen = (self.witness.ticks, self.blobs.deletions)
        if seen == self._seen and not anyway and not self.witness.faults:
            return
        self._seen = seen
        living = {member.id for member in self.living()}
        faults = self.witness.faults or faults_of(self.connection, self.witness, self.blobs.stored, living)
        faults = faults or list(self._crowded())
        faults = faults or [fault for member in self.members if (fault := member.broken())]
        if faults:
            raise Fault(faults[0])

    def _crowded(self) -> Iterator[str]:
        """R6: what a module has running is within its concurrency: for each dispatcher, and in all while they stay."""
        running: Counter[tuple[str, Any]] = Counter()
        for attempt in self.attempts():
            job = attempt.assignment.job
            running[job.module, attempt.watcher] += 1
            if (stamp := self.witness.claims[job.id, job.attempt]) is not None:
                running[job.module, stamp] += 1
        for (module, whose), count in running.items():
            if count > self.concurrency[module]:
                whom = "while the members stayed the same" if isinstance(whose, int) else "for one dispatcher"
                yield f"R6: {count} jobs of {module} run {whom}, {self.concurrency[module]} may"
        in_ledger = Counter(job.module for job in self.witness.jobs.values() if job.state is State.RUNNING)
        for module, count in in_ledger.items():
            if count > self.concurrency[module]:
                yield f"R6: the ledger has {count} jobs of {module} running, {self.concurrency[module]} may"

    # ---- members ----------------------------------------------------------------------------------------------

    def living(self) -> list[Member]:
        return [member for member in self.members if member.phase is not Phase.GONE]

    def remembered(self) -> list[Member]:
        """Those whom the ledger knows: a dispatcher that was taken for dead is not, until it beats again."""
        rows = {owner for (owner,) in self.connection.execute("SELECT id FROM owners")}
        return [member for member in self.living() if member.id in rows or member.phase is Phase.STARTING]

    @property
    def hosts(self) -> list[Place]:
        """Where dispatchers run."""
        return self.places[:-1]

    @property
    def routed(self) -> bool:
        """Whether any rule sends jobs to the cluster."""
        return any(AWAY in module.providers for module in self.modules)

    def start(self, place: Place | None = None, *, reaches: bool | None = None) -> Member:
        """Another dispatcher, at that host or at any; it `reaches` the cluster, or as the dice would have it."""
        self.epoch += 1
        cluster = self.places[-1] if reaches or (reaches is None and self.routed and self.dice.random() < 0.6) else None
        line = Line(f"d{len(self.members)}", self.dice, self.holds)
        asyncio._set_running_loop(self.loop)
        try:
            member = Member(
                line,
                place or self.dice.choice(self.hosts),
                cluster,
                database=self.database,
                ledger=self._ledger_type(self.database, max_jobs=self.max_jobs),
                bus=NotingBus(self.database, self.witness.published),
                blobs=self.blobs,
                max_hops=self.max_hops,
                locks=self._folder,
            )
        finally:
            asyncio._set_running_loop(None)
        line.before = lambda verb: self._claiming(member, verb)
        line.heard = lambda verb, fate: self._said.append((self.loop.time(), f"· {line.name} {verb}", fate))
        self.members.append(member)
        self.loop.turn()
        return member

    def _claiming(self, member: Member, verb: str) -> None:
        if "Ledger.claim" in verb:
            self._stamps[member.id] = self.epoch if self._calm() else None

    def _stamp(self, owner: str) -> int | None:
        return self._stamps.get(owner)

    def _calm(self) -> bool:
        """Whether every member knows of exactly those there are, so that their shares must add up."""
        living = self.living()
        if any(member.phase is not Phase.LIVE or member.line.asleep for member in living):
            return False
        views = [member.knows_of() for member in living]
        served = {modules for _, modules in views[0]} == {tuple(sorted(self.witness.registered))}
        return served and all(view == views[0] for view in views) and len(views[0]) == len(living)

    def attempts(self) -> list[Attempt]:
        """What runs anywhere."""
        return [one for place in self.places for one in place.attempts.values() if not one.status.final]

    # ---- modules ----------------------------------------------------------------------------------------------

    def apply(self, *modules: Module) -> None:
        self.epoch += 1
        revisions = [revise(module) for module in modules]
        self.witness.modules.update({revision.id: revision.module for revision in revisions})
        self.do(self.ledger.apply(revisions, "person"))


def _wiped(database: Database) -> sqlite3.Connection:
    """The store as it was when it was made."""
    connection = database._writer
    assert connection is not None
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'registry'").fetchall()
    connection.execute("BEGIN")
    for (table,) in tables:
        connection.execute(f"DELETE FROM {table}")
    connection.execute("UPDATE registry SET version = 1")
    connection.execute("COMMIT")
    return connection


def seeded_uuids(dice: random.Random) -> Any:
    """Random ids from these dice."""
    return lambda: uuid.UUID(int=dice.getrandbits(128), version=4)
