"""What happens to attempts at their places: they write results, fail, run twice, hang, vanish, or come late."""

from collections.abc import Iterator

import msgspec
from tests.simulation.actions import MODULE_KINDS, Action, failure
from tests.simulation.pipeline import FINAL_EXIT
from tests.simulation.place import Attempt
from tests.simulation.results import stored_by
from tests.simulation.world import World

from ion.model import ids
from ion.model.job import Failure, FailureClass, State
from ion.model.manifest import ManifestRef, log_path

RAISED = (0, 1, 1, 2)


def possible(world: World) -> Iterator[Action]:
    """What may happen to the attempts there are."""
    active = [one for one in world.attempts() if not one.hangs]
    if active:
        yield Action(7.0, "end", lambda: end(world, world.dice.choice(active)))
        yield Action(1.0, "write", lambda: _write(world, world.dice.choice(active)))
        yield Action(0.4, "hang", lambda: _hang(world.dice.choice(active)))
        yield Action(0.3, "vanish", lambda: _vanish(world, world.dice.choice(active)))
    stopping = [one for one in world.attempts() if one.stopping]
    if stopping:
        yield Action(3.0, "stopped", lambda: _stopped(world.dice.choice(stopping)))
    late = [(place.forgotten, one) for place in world.places for one in place.forgotten]
    if late:
        running = [pair for pair in late if world.witness.jobs[pair[1].handle.job].state is State.RUNNING]
        yield Action(2.0 if running else 0.5, "late", lambda: _late(world, *world.dice.choice(running or late)))


def end(world: World, attempt: Attempt) -> str:
    """It succeeds, with any of the manifests that its executions wrote, or it fails by some class."""
    dice = world.dice
    if dice.random() < 0.65:
        if not attempt.stored or dice.random() < 0.2:
            execute(world, attempt)
        if attempt.stored:
            attempt.succeed(dice.choice(attempt.stored))
            return f"{name(attempt)} well"
        attempt.fail(failure(FailureClass.INFRASTRUCTURE))
        return f"{name(attempt)} without a store"
    kind = dice.choice((*MODULE_KINDS, FailureClass.MODULE, FailureClass.LOST, FailureClass.INFRASTRUCTURE))
    code = dice.choice((1, 1, FINAL_EXIT)) if kind is FailureClass.MODULE else None
    attempt.fail(failure(kind, code), _log(world, attempt))
    return f"{name(attempt)} {kind} {code or ''}"


def time_out(world: World, attempt: Attempt) -> None:
    """What the executor does in the end to what hangs."""
    attempt.fail(attempt.stopping or failure(FailureClass.TIMEOUT), _log(world, attempt))


def execute(world: World, attempt: Attempt) -> ManifestRef | None:
    """One execution writes its results, the manifest last. A store that is away stops it."""
    if world.blobs.away:
        return None
    emits = attempt.assignment.revision.module.emits
    raised = world.dice.choice(RAISED) if emits else 0
    blobs, manifest = stored_by(attempt.assignment, ids.new_id(), raised)
    for path, content in blobs.items():
        world.blobs.keep(path, content)
    attempt.stored.append(manifest)
    return manifest


def name(attempt: Attempt) -> str:
    """For the trace."""
    return f"{attempt.assignment.job.module} {attempt.handle.job[:8]}/{attempt.handle.attempt}"


def _log(world: World, attempt: Attempt) -> str:
    if world.blobs.away:
        return ""
    path = log_path(attempt.handle.job, attempt.handle.attempt, ids.new_id())
    world.blobs.keep(path, b"log")
    return path


def _write(world: World, attempt: Attempt) -> str:
    """Results are written, and nobody is told yet."""
    return f"{name(attempt)} {'by' if execute(world, attempt) else 'not by'} execution {len(attempt.stored)}"


def _hang(attempt: Attempt) -> str:
    attempt.hangs = True
    return name(attempt)


def _vanish(world: World, attempt: Attempt) -> str:
    """The place knows nothing of it any more, and never says so by itself."""
    for place in world.places:
        if place.attempts.pop(attempt.handle, None) is not None:
            place.forgotten.append(attempt)
    return name(attempt)


def _stopped(attempt: Attempt) -> str:
    attempt.fail(attempt.stopping or Failure(kind=FailureClass.LOST, message="stopped"))
    return name(attempt)


def _late(world: World, forgotten: list[Attempt], attempt: Attempt) -> str:
    """An execution that nobody waits for any more commits, by way of whoever watched it."""
    forgotten.remove(attempt)
    manifest = execute(world, attempt)
    if manifest is None:
        return f"{name(attempt)} cannot"
    won = world.do(world.ledger.commit(attempt.handle.job, attempt.handle.attempt, manifest))
    if not won:
        world.do(world.blobs.delete(f"{manifest.blob.rpartition('/')[0]}/"))
    return f"{name(attempt)} {won}"


def clear(world: World) -> None:
    """Ends everything that still runs, as it will end some day: well, or stopped as it was asked."""
    for attempt in world.attempts():
        if attempt.stopping or attempt.hangs:
            time_out(world, attempt)
            continue
        if not attempt.stored:
            execute(world, attempt)
        if attempt.stored:
            attempt.succeed(msgspec.structs.replace(attempt.stored[0]))
