"""An attempt's life: when each of its steps began and ended.

The times come from several clocks: the ledger's (admitted, claimed), the host's that watched (the module, the commit,
the release) and, where only a manifest tells, the module's place. They may be some milliseconds apart, so no step is
let begin before the one ahead of it ended.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from ion.dispatcher.finish import Progress, Step
from ion.model.job import Failure, FailureClass, Job, State


class Part(StrEnum):
    """The steps of an attempt, in their order."""

    WAIT = "wait"  # until it was claimed, back-off and pauses included
    PREPARE = "prepare"  # until the module began: images, inputs, the directory
    MODULE = "module"
    COMMIT = "commit"  # until the results were decided
    RELEASE = "release"  # until the children were admitted and the events published


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt, until `ended_s`. `parts` are those that are known, each with its begin and end.

    Times are in seconds since the epoch. `outcome` is the word of the `Step` that ended it. A `root` is a gateway's.
    """

    job: Job
    outcome: Step
    progress: Progress
    parts: Sequence[tuple[Part, float, float]]
    ended_s: float
    root: bool = False

    @property
    def began_s(self) -> float:
        return self.parts[0][1]


def failed_life(progress: Progress, at_s: float) -> Life:
    """Of an attempt that was settled without results at `at_s`. Where nobody saw the module begin, it failed before
    that, or else nothing is said of what came after it was claimed.
    """
    job = progress.job
    ends = [(Part.WAIT, _claimed_s(job, at_s))]
    if progress.began_s:
        ends += [(Part.PREPARE, progress.began_s), (Part.MODULE, progress.ended_s or at_s)]
        ends += [(Part.COMMIT, at_s)] if progress.ended_s and _beside_module(progress.failure) else []
    elif _beside_module(progress.failure):
        ends += [(Part.PREPARE, at_s)]
    parts = _parts(_queued_s(job, ends[0][1]), ends)
    return Life(job=job, outcome=progress.step, progress=progress, parts=parts, ended_s=max(parts[-1][2], at_s))


def _beside_module(failure: Failure | None) -> bool:
    """Whether an attempt failed before its module ran or, where that ran, afterwards."""
    return failure is not None and failure.kind in (FailureClass.CONTRACT, FailureClass.INFRASTRUCTURE)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher saw of an attempt that committed: its module's begin and end, and the commit's. 0 is for what
    it did not see.
    """

    began_s: float = 0.0
    ended_s: float = 0.0
    committed_s: float = 0.0


UNSEEN = Seen()
"""Another dispatcher committed it."""


def released_life(job: Job, seen: Seen, released_s: float) -> Life:
    """Of an attempt whose results are known to all since `released_s`; `job` is as it was relayed."""
    progress = Progress(job=job, step=Step.COMMITTED, manifest=job.manifest, began_s=seen.began_s, ended_s=seen.ended_s)
    if is_root(job):
        return _root_life(job, progress, released_s)
    manifest = job.manifest
    assert manifest is not None  # nothing is released without
    began_s, stored_s = manifest.started_at.timestamp(), manifest.ended_at.timestamp()
    ends = [
        (Part.WAIT, _claimed_s(job, began_s)),
        (Part.PREPARE, seen.began_s or began_s),
        (Part.MODULE, seen.ended_s if seen.began_s and seen.ended_s else stored_s),
        (Part.COMMIT, seen.committed_s or _seconds(job.ended_at) or stored_s),
        (Part.RELEASE, released_s),
    ]
    parts = _parts(_queued_s(job, ends[0][1]), ends)
    return Life(job=job, outcome=Step.COMMITTED, progress=progress, parts=parts, ended_s=parts[-1][2])


def is_root(job: Job) -> bool:
    """Whether it is a gateway's job, which raised a flow's first event: every other has a revision since its claim."""
    return not job.revision


def _root_life(job: Job, progress: Progress, released_s: float) -> Life:
    """A gateway commits what it took in; then it is released as any other."""
    manifest = job.manifest
    assert manifest is not None
    ends = [(Part.COMMIT, manifest.ended_at.timestamp()), (Part.RELEASE, released_s)]
    parts = _parts(manifest.started_at.timestamp(), ends)
    return Life(job=job, outcome=Step.COMMITTED, progress=progress, parts=parts, ended_s=parts[-1][2], root=True)


def _parts(begin_s: float, ends: Sequence[tuple[Part, float]]) -> Sequence[tuple[Part, float, float]]:
    """One after the other."""
    parts, now_s = [], begin_s
    for part, end_s in ends:
        then_s = max(now_s, end_s)
        parts.append((part, now_s, then_s))
        now_s = then_s
    return parts


def _claimed_s(job: Job, else_s: float) -> float:
    return _seconds(job.started_at) or else_s


def _queued_s(job: Job, else_s: float) -> float:
    """Since when the job had waited before it was claimed."""
    since: datetime | None = None
    waits = False
    for change in reversed(job.history):
        if change.state is State.WAITING:
            since, waits = change.at, True
        elif waits:
            break
    return min(else_s, _seconds(since) or _seconds(job.admitted_at) or else_s)


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
