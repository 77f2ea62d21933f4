"""A schedule: some dozens of actions in an order that a seed decides, then recovery until everything has ended."""

import asyncio
import random
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from unittest.mock import patch

from tests.simulation import actions, executions
from tests.simulation.line import Fate
from tests.simulation.member import Phase
from tests.simulation.pipeline import REMOVABLE
from tests.simulation.wholes import unfinished
from tests.simulation.world import Fault, World, seeded_uuids

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.breaker import PROBE_MOST_S
from ion.management.audit import Severity, audit
from ion.model.job import State
from ion.ports.ledger import Control

STEPS = (10, 20, 36)
ROUNDS_MOST = 120
ROUND_S = 6.0
WAVES_MOST = 60
LATER_MOST_S = 700.0
"""All that an attempt may take; a clock that was set has told of times further ahead."""
RESTARTED = 0.9
"""How likely each place gets a dispatcher again; else a stranger must take over what was left there."""
AUDIT_EACH = 10
_MEMORY = "/dev/shm"  # locks are many, and a disk is slow
_ENDED = {State.RELEASED, State.DEAD, State.CANCELLED}


class Simulation:
    """Runs schedules on one database, each on an empty one."""

    def __init__(self, ledger_type: type[SqliteLedger] = SqliteLedger) -> None:
        self._ledger_type = ledger_type
        self._database = Database(None)
        self._locks = TemporaryDirectory(dir=_MEMORY if Path(_MEMORY).is_dir() else None)

    def __enter__(self) -> Self:
        asyncio.run(self._database.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self._database.__aexit__(None, None, None))
        self._locks.cleanup()

    def run_all(self, seeds: Iterable[int]) -> None:
        """Runs one schedule after the other until one finds a fault."""
        for seed in seeds:
            self.run(seed)

    def run(self, seed: int) -> list[str]:
        """The trace of a schedule. Raises Fault, with the trace in its text."""
        with _dice(seed):
            world = World(seed, self._database, Path(self._locks.name), self._ledger_type)
            try:
                _run(world, seed)
            except (Exception, AssertionError) as error:
                kind = "" if isinstance(error, Fault) else f"{type(error).__name__}: "
                raise Fault(_told(seed, f"{kind}{error}", world.trace())) from error
            finally:
                for member in world.living():
                    member.kill()
                world.loop.turn()
            return world.trace()


@contextmanager
def _dice(seed: int) -> Iterator[None]:
    """Jitter and random ids come from the seed too."""
    random.seed(seed)
    with patch.object(uuid, "uuid4", seeded_uuids(random.Random(-1 - seed))):
        yield


def _told(seed: int, fault: str, trace: list[str]) -> str:
    again = f"replay it with: pytest tests/simulation --seed {seed}"
    return "\n".join([f"seed {seed}: {fault}", *trace, again])


def _run(world: World, seed: int) -> None:
    world.apply(*world.modules)
    world.start()
    for _ in range(world.dice.choice(STEPS)):
        _step(world)
    world.say("RECOVERY")
    _recover(world)
    if seed % AUDIT_EACH == 0:
        _audit(world)


def _step(world: World) -> None:
    choices = [*actions.possible(world), *executions.possible(world)]
    (chosen,) = world.dice.choices(choices, [one.weight for one in choices])
    world.say(chosen.name.upper())
    world.say(f"  {chosen.act()}")
    world.loop.turn()
    world.check()


def _recover(world: World) -> None:
    """Everything comes back and nothing fails any more: then all must end, in a bounded number of rounds."""
    _mend(world)
    seen: object = None
    for _ in range(ROUNDS_MOST):
        _work_off(world)
        world.check()
        if all(job.state in _ENDED for job in world.witness.jobs.values()):
            break
        if not world.living():
            world.start()
        world.pass_time(ROUND_S)
        standing = [(job.state, job.attempt, job.owner) for job in world.witness.jobs.values()]
        if standing == seen:
            _later(world)
        seen = standing
        _free_held(world)
    world.check(anyway=True)
    if faults := unfinished(world.witness):
        raise Fault(faults[0])


def _work_off(world: World) -> None:
    """All that can be done without waiting: what runs ends, what that raises runs and ends too."""
    _let_through(world)
    for _ in range(WAVES_MOST):
        if not world.attempts():
            return
        executions.clear(world)
        _let_through(world)
    raise Fault("attempts are made again and again, and no time passes")


def _mend(world: World) -> None:
    world.blobs.away = False
    for member in world.living():
        member.line.asleep, member.line.holds = False, 0.0
    if REMOVABLE not in world.witness.registered:
        world.apply(next(m for m in world.modules if m.name == REMOVABLE))
    for name in sorted(world.witness.paused):
        world.do(world.ledger.pause_module(name, paused=False, actor="person"))
    for flow in [flow for flow, control in world.witness.controls.items() if control == Control.PAUSED]:
        world.do(world.ledger.control(flow, Control.NONE, "person"))
    world.holds = 0.0
    staying = [member for member in world.living() if member.phase is not Phase.STOPPING]
    for place in world.hosts:
        if not any(member.place is place for member in staying) and world.dice.random() < RESTARTED:
            world.start(place)
    if world.routed and not any(member.away for member in world.living() if member.phase is not Phase.STOPPING):
        world.start(reaches=True)


def _let_through(world: World) -> None:
    world.loop.turn()
    while any(member.line.held for member in world.living()):
        actions.answer(world, Fate.THROUGH)
        world.loop.turn()


def _later(world: World) -> None:
    """Nothing moves: time goes on to the next thing that is due, a breaker's probe included, or an attempt's end."""
    (due,) = world.connection.execute(
        "SELECT min(coalesce(deadline, not_before)) FROM jobs WHERE state IN ('waiting', 'running', 'committed')"
    ).fetchone()
    (failed,) = world.connection.execute("SELECT max(failed_at) FROM modules").fetchone()
    ahead = max(due or 0.0, (failed or 0.0) + PROBE_MOST_S) - world.clock()
    if ahead > 0:
        world.pass_time(min(ahead, LATER_MOST_S) + 1.0)


def _free_held(world: World) -> None:
    """A person frees what the guards hold."""
    for (job,) in world.connection.execute("SELECT id FROM jobs WHERE hold IN ('hops', 'jobs')").fetchall():
        world.do(world.ledger.requeue(job, "person"))


def _audit(world: World) -> None:
    async def faults() -> list[str]:
        found = audit(world.ledger, world.documents, world.blobs)
        return [f"{one.about}: {one.message}" async for one in found if one.severity is Severity.FAULT]

    task = world.loop.create_task(faults())
    world.loop.turn()
    if told := task.result():
        raise Fault(f"the audit: {told[0]}")
