"""What may happen next: every action of the simulation, and how likely it is to be chosen."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from tests.simulation.line import Fate
from tests.simulation.member import LEASE_S, Member, Phase
from tests.simulation.pipeline import REMOVABLE
from tests.simulation.world import World

from ion.errors import IonError
from ion.management.events import RootEvent, raise_event
from ion.model import ids
from ion.model.job import Failure, FailureClass, State
from ion.ports.ledger import Control

ROOTS_MOST, MEMBERS_MOST = 2, 3
MODULE_KINDS = (FailureClass.MODULE, FailureClass.TIMEOUT, FailureClass.MEMORY, FailureClass.CONTRACT)
KILLS_THE_FORGOTTEN = False
"""Whether one may be killed that was taken for dead, lives, and has not beaten since. Off: a committed job that it took
meanwhile names an owner that has no row until the next beat of anybody frees it, and the check looks at once."""
_FATES = (Fate.THROUGH, Fate.REFUSED, Fate.UNANSWERED)


class Action(NamedTuple):
    weight: float
    name: str
    act: Callable[[], str]
    """Does it, and tells what exactly."""


def possible(world: World) -> Iterator[Action]:
    """Every action that makes sense now."""
    yield from _dispatchers(world)
    yield from _time(world)
    yield from _people(world)
    if any(not member.line.asleep and member.line.held for member in world.living()):
        yield Action(8.0, "answer", lambda: answer(world))
    yield Action(0.4 if not world.blobs.away else 2.0, "blobs", lambda: _blobs(world))


def _dispatchers(world: World) -> Iterator[Action]:
    living = world.living()
    if len(living) < MEMBERS_MOST:
        yield Action(1.0 if living else 6.0, "start", lambda: world.start().line.name)
    live = [member for member in living if member.phase is Phase.LIVE]
    mortal = living if KILLS_THE_FORGOTTEN else world.remembered()
    if mortal:
        yield Action(0.8, "kill", lambda: kill(world, world.dice.choice(mortal)))
    if live:
        yield Action(0.3, "stop", lambda: _stop(world, world.dice.choice(live)))
        yield Action(0.7, "sleep", lambda: _sleep(world, world.dice.choice(live)))
    asleep = [member for member in living if member.line.asleep]
    if asleep:
        yield Action(1.5, "wake", lambda: wake(world, world.dice.choice(asleep)))


def kill(world: World, member: Member) -> str:
    """What it had sent out may still arrive."""
    world.epoch += 1
    for held in member.line.held:
        if world.dice.random() < 0.3:
            world.say(f"  {held.verb} of {member.line.name} still arrives")
            world.loop.create_task(_last(held.work))
    member.kill()
    world.loop.turn()
    return member.line.name


async def _last(work: Callable[[], Awaitable[object]]) -> None:
    with suppress(IonError):  # nobody is there to hear it
        await work()


def _stop(world: World, member: Member) -> str:
    world.epoch += 1
    member.line.asleep = False
    member.stop()
    return member.line.name


def _sleep(world: World, member: Member) -> str:
    world.epoch += 1
    member.line.asleep = True
    return member.line.name


def wake(world: World, member: Member) -> str:
    """It goes on where it was; its calls are held until they are answered."""
    world.epoch += 1
    member.line.asleep = False
    return member.line.name


def answer(world: World, fate: Fate | None = None) -> str:
    """One held call of somebody awake gets its fate."""
    dice = world.dice
    line = dice.choice([m.line for m in world.living() if m.line.held and not m.line.asleep])
    held = dice.choice(line.held)
    chosen = fate or dice.choices(_FATES, (10, 1, 1))[0]
    held.fate.set_result(chosen)
    return f"{held.verb} of {line.name} {chosen}"


def _time(world: World) -> Iterator[Action]:
    yield Action(4.0, "time", lambda: _pass(world, world.dice.uniform(0.5, 12.0)))
    yield Action(0.6, "nap", lambda: _pass(world, LEASE_S * 1.3))
    yield Action(0.5, "clock", lambda: _jump(world))


def _pass(world: World, seconds: float) -> str:
    world.pass_time(seconds)
    return f"{seconds:.1f} s"


def _jump(world: World) -> str:
    """The ledger's clock alone."""
    seconds = world.dice.choice((-4000.0, -20.0, 20.0, 800.0, 4000.0))
    world.clock.advance(seconds)
    return f"{seconds:+.0f} s"


def _blobs(world: World) -> str:
    world.blobs.away = not world.blobs.away
    return "away" if world.blobs.away else "back"


# ---- people -------------------------------------------------------------------------------------------------------


def _people(world: World) -> Iterator[Action]:
    if len(world.flows) < ROOTS_MOST:
        yield Action(3.0, "raise", lambda: _raise(world))
    if world.flows:
        yield Action(0.9, "flow", lambda: _control(world))
    jobs = [job.id for job in world.witness.jobs.values() if job.state in (State.WAITING, State.RUNNING)]
    if jobs:
        yield Action(0.5, "cancel", lambda: _person(world, "cancel", world.dice.choice(jobs)))
    ended = [job.id for job in world.witness.jobs.values() if job.state in (State.DEAD, State.CANCELLED)]
    if ended:
        yield Action(0.9, "requeue", lambda: _person(world, "requeue", world.dice.choice(ended)))
    yield Action(0.4, "remove", lambda: _remove(world))
    yield Action(0.3 if REMOVABLE in world.witness.registered else 1.5, "apply", lambda: _apply(world))
    yield Action(0.4, "module", lambda: _pause(world))


def _raise(world: World) -> str:
    """A root event; in a new flow, or once more with the same id, as a client does that got no answer."""
    dice = world.dice
    again = bool(world.flows) and dice.random() < 0.2
    key = dice.choice(world.flows) if again else ids.new_id()
    root = RootEvent(type="photo", id=key, correlation_id=key)
    moment = datetime.fromtimestamp(world.clock(), UTC)
    answer = world.do(raise_event(root, gateway="front", ledger=world.ledger, blobs=world.blobs, clock=lambda: moment))
    if not again:
        world.flows.append(key)
    return f"{key[:8]} {type(answer).__name__}"


def _control(world: World) -> str:
    flow = world.dice.choice(world.flows)
    control = world.dice.choice((Control.PAUSED, Control.NONE, Control.PAUSED, Control.NONE, Control.CANCELLED))
    answer = world.do(world.ledger.control(flow, control, "person"))
    return f"{flow[:8]} {control or 'free'} {answer or ''}"


def _person(world: World, verb: str, job: str) -> str:
    answer = world.do(getattr(world.ledger, verb)(job, "person"))
    return f"{job[:8]} {answer}"


def _remove(world: World) -> str:
    world.epoch += 1
    return f"{REMOVABLE} {world.do(world.ledger.remove(REMOVABLE, 'person'))}"


ROUTES_STAY = 0.7


def _apply(world: World) -> str:
    """The removable module as it was, or another revision of one of them."""
    changed = world.dice.choice(world.modules) if REMOVABLE in world.witness.registered else None
    module = next(m for m in world.modules if m.name == REMOVABLE) if changed is None else changed
    env = {"R": str(world.dice.randint(0, 99))} if changed is not None else {}
    route = module.route if world.dice.random() < ROUTES_STAY else ()
    world.apply(msgspec.structs.replace(module, env=env, route=route))
    return f"{module.name} {env}"


def _pause(world: World) -> str:
    module, paused = world.dice.choice(world.modules).name, world.dice.random() < 0.5
    answer = world.do(world.ledger.pause_module(module, paused=paused, actor="person"))
    return f"{module} {'paused' if paused else 'started'} {answer or ''}"


def failure(kind: FailureClass, exit_code: int | None = None) -> Failure:
    return Failure(kind=kind, message="as the dice would have it", exit_code=exit_code)
