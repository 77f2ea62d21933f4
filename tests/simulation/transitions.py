"""What a single change of a job may be: the rules R1 to R5, stated once more and not by the code that keeps them."""

from collections.abc import Iterator

from tests.simulation.pipeline import AWAY, HERE
from tests.simulation.place import CLUSTER
from tests.simulation.witness import Change, Known, Witness

from ion.model import ids
from ion.model.event import Event
from ion.model.job import Failure, FailureClass, State
from ion.model.module import Module

_ENDS = {State.DEAD, State.CANCELLED}
_DECIDED = {State.COMMITTED, State.RELEASED}
_MAY_BECOME = {
    State.WAITING: {State.WAITING, State.RUNNING, *_ENDS},
    State.RUNNING: {State.RUNNING, State.WAITING, State.COMMITTED, *_ENDS},
    State.COMMITTED: {State.COMMITTED, State.RELEASED},
    State.RELEASED: {State.RELEASED},
    State.DEAD: {State.DEAD, State.WAITING},
    State.CANCELLED: {State.CANCELLED, State.WAITING},
}


def judge(witness: Witness, job: Known, change: Change) -> list[str]:
    """Every rule that a change breaks."""
    old, new = change.old, change.new
    found = []
    if new.state not in _MAY_BECOME[old.state]:
        found.append(f"R3: {old.state} became {new.state}")
    claimed = old.state is State.WAITING and new.state is State.RUNNING
    if new.attempt != old.attempt + claimed:
        found.append(f"attempt {old.attempt} became {new.attempt} from {old.state} to {new.state}")
    if old.state in _DECIDED and (new.execution, new.attempt) != (old.execution, old.attempt):
        found.append("R3: what was decided changed")
    if new.cursor < old.cursor and new.state is old.state:
        found.append("R1: the relay's cursor went back")
    if old.state is not new.state:
        found += _change_of_state(witness, job, change)
    return found


def _change_of_state(witness: Witness, job: Known, change: Change) -> list[str]:
    found: list[str] = []
    match change.old.state, change.new.state:
        case State.WAITING, State.RUNNING:
            found = _claimed(witness, job, change)
        case State.RUNNING, State.COMMITTED:
            found = _committed(job)
        case State.COMMITTED, State.RELEASED:
            found = _released(witness, job)
        case State.RUNNING, State.WAITING:
            found = _queued_again(witness, job, change)
        case State.RUNNING, State.DEAD:
            found = _buried(witness, change)
        case State.RUNNING, State.CANCELLED if not change.old.cancelling and not _cancelled(witness, job):
            found = ["it was cancelled and nobody had asked"]
        case ((State.DEAD | State.CANCELLED), State.WAITING) if _cancelled(witness, job):
            found = ["it waits again in a cancelled flow"]
    return found


def _cancelled(witness: Witness, job: Known) -> bool:
    return witness.controls.get(job.flow) == "cancelled"


def _claimed(witness: Witness, job: Known, change: Change) -> list[str]:
    found = []
    if control := witness.controls.get(job.flow, ""):
        found.append(f"it was claimed in a {control} flow")
    if change.old.hold:
        found.append(f"it was claimed though {change.old.hold} holds it")
    if job.module in witness.paused:
        found.append("it was claimed of a paused module")
    if change.deadline is None or not change.new.owner:
        found.append("R4: it runs without a deadline or an owner")
    return [*found, *_misplaced(witness, job, change)]


def _misplaced(witness: Witness, job: Known, change: Change) -> Iterator[str]:
    """A job begins where a rule of its revision sends it, and is tried again there as long as its module has rules."""
    place, module = _place(change.new.scope), witness.modules[change.new.revision]
    if not change.old.revision:
        if place not in (may := set(_places(module, job.event))):
            yield f"it began at {place}, its rules say {' or '.join(sorted(may))}"
    elif place != _place(change.old.scope) and all(
        one.route for one in witness.modules.values() if one.name == job.module
    ):
        yield f"it began at {_place(change.old.scope)} and is tried again at {place}"


def _always_routed(witness: Witness, name: str) -> bool:
    return all(module.route for module in witness.modules.values() if module.name == name)


def _place(scope: str) -> str:
    return AWAY if scope == CLUSTER else HERE


def _places(module: Module, event: Event) -> Iterator[str]:
    """Wherever the event's job may begin, however long it has waited: the rules, read once more."""
    for rule in module.route:
        endings = [one["suffix"]["id"] for filters in rule.filters for one in filters["any"]]
        if not endings or event.id.endswith(tuple(endings)):
            yield rule.provider or module.provider
            if not rule.waited_s:
                return
    yield module.provider


def _committed(job: Known) -> list[str]:
    manifest = job.manifest
    if manifest is None or (manifest.job, manifest.attempt) != (job.id, job.attempt):
        return ["R3: the results of another attempt were committed"]
    return []


def _released(witness: Witness, job: Known) -> list[str]:
    found = []
    witness.released.append(job)
    for event in job.manifest.events if job.manifest else ():
        if event.id not in witness.published:
            found.append(f"R1: released before its event {event.id} was published")
        found += [
            f"R1: released before module {module} had a job for its event {event.id}"
            for module in heard_by(witness, event.type, job.decided_at)
            if ids.job_id(event.id, module) not in witness.jobs
        ]
    return found


def heard_by(witness: Witness, event_type: str, since: int) -> list[str]:
    """The modules that have heard a type ever since."""
    hear = {m.name for m in witness.modules.values() if any(s.type == event_type for s in m.on)}
    return sorted(name for name in hear if witness.registered.get(name, since + 1) <= since)


def _queued_again(witness: Witness, job: Known, change: Change) -> list[str]:
    found = []
    if change.old.cancelling or _cancelled(witness, job):
        found.append("it waits again though it was cancelled")
    kinds = _counted(change)
    if len(kinds) > 1:
        found.append(f"R5: one failure was counted as {kinds}")
    if kinds and change.failure is not None:
        module, count = witness.modules[change.new.revision], change.new.failures[kinds[0]]
        if kinds[0] != change.failure.kind or not _within(module, change.failure, count):
            found.append(f"R5: it was tried again after {count} failures of class {kinds[0]}")
    return found


def _buried(witness: Witness, change: Change) -> list[str]:
    kinds, failure = _counted(change), change.failure
    if failure is None or kinds != [failure.kind]:
        return [f"R5: it died of {failure and failure.kind}, and {kinds} was counted"]
    if failure.kind is FailureClass.INFRASTRUCTURE:
        return [] if change.old.troubled_at is not None else ["R5: the first infrastructure failure killed it"]
    if _within(witness.modules[change.new.revision], failure, change.new.failures[failure.kind]):
        return [f"R5: it died of {failure.kind} with budget left"]
    return []


def _counted(change: Change) -> list[str]:
    """The classes that this change counted, each as often as it did."""
    old, new = change.old.failures, change.new.failures
    return [kind for kind, count in new.items() for _ in range(count - old.get(kind, 0))]


def _within(module: Module, failure: Failure, failed: int) -> bool:
    """Whether a job may be tried again when it has failed so often by this class, this time included."""
    budget = module.retries
    if failure.exit_code in module.no_retry_on:
        return False
    most = {
        FailureClass.MODULE: budget.module,
        FailureClass.TIMEOUT: budget.timeout,
        FailureClass.MEMORY: budget.memory,
        FailureClass.LOST: budget.lost,
        FailureClass.CONTRACT: 0,
        FailureClass.INFRASTRUCTURE: failed,
    }
    return failed <= most[failure.kind]
