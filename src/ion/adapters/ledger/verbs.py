"""What the verbs of every ledger decide alike, whatever they are stored in."""

from collections.abc import Iterable, Mapping, Sequence

from ion.errors import InvalidError
from ion.model.job import Hold, Job, State
from ion.ports.ledger import Bury, Cancel, Changes, Control, GiveBack, Load, Outcome, Retry

ADMISSION = "admission"
"""The actor of the first line of every history."""

AFTER_SETTLE: Mapping[State | None, Changes] = {
    State.WAITING: Changes.DUE,
    State.DEAD: Changes.ENDED,
    State.CANCELLED: Changes.ENDED,
    None: Changes(0),
}
"""Which news a settled job makes, by what it has become; None if nothing was changed."""
AFTER_CANCEL: Mapping[State | None, Changes] = {
    State.WAITING: Changes.ENDED,
    State.RUNNING: Changes.CANCEL,
    None: Changes(0),
}
"""Which news a cancelled job makes, by what it was; None if nothing was changed."""
AFTER_CONTROL = {
    Control.PAUSED: Changes.REGISTRY,
    Control.NONE: Changes.REGISTRY | Changes.DUE,
    Control.CANCELLED: Changes.REGISTRY | Changes.ENDED | Changes.CANCEL,
}
"""Which news a controlled flow makes, by its new control."""


def load_of(jobs: Mapping[State, int], admitted: Iterable[float | None], now: float) -> Load:
    """The load that these counts, zeros among them, and the times of waiting jobs make; None for a time is none."""
    known = [at for at in admitted if at is not None]
    return Load(
        jobs={state: count for state, count in jobs.items() if count},
        oldest_s=max(0.0, now - min(known)) if known else None,
    )


def check_admissible(jobs: Sequence[Job]) -> None:
    """Raises `InvalidError` for a job in a state that admission does not know."""
    for job in jobs:
        committed = job.state is State.COMMITTED and job.manifest is not None
        dead = job.state is State.DEAD and job.failure is not None
        if not (job.state is State.WAITING or committed or dead):
            raise InvalidError(
                f"job {job.id} cannot be admitted as {job.state};"
                " admit it waiting, committed with its manifest, or dead with its failure"
            )


def held(job: Job, control: Control, *, beyond: bool) -> Hold | None:
    """What holds a job that is admitted waiting, to a flow under that control which may be `beyond` its bound of jobs.

    A flow's pause is the weakest: lifting it must not free what the guards hold.
    """
    if job.hold is not None and job.hold is not Hold.FLOW:
        return job.hold
    if beyond:
        return Hold.JOBS
    return Hold.FLOW if control is Control.PAUSED else job.hold


def admission_note(job: Job, state: State, hold: Hold | None) -> str:
    """The note of a job that is admitted in that state."""
    if state is State.CANCELLED:
        return "its flow is cancelled"
    if job.failure is not None:
        return f"{job.failure.kind}: {job.failure.message}"
    return f"held: {hold.value}" if hold else ""


def reason(outcome: Outcome) -> str:
    """The note of a job that is settled so."""
    match outcome:
        case Retry() | Bury():
            return f"{outcome.failure.kind}: {outcome.failure.message}"
        case Cancel() | GiveBack():
            return outcome.reason
