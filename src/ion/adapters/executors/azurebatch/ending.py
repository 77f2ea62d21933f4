"""How attempts end on Azure Batch: which class of failure it is, and one sentence about it.

The node's report says it best. It is gone with its node: then what Batch says of the task has to do.
https://learn.microsoft.com/azure/batch/batch-job-task-error-checking
"""

import re
import signal

import msgspec

from ion.adapters.executors import ends
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.executors.azurebatch.task import seconds
from ion.adapters.executors.azurebatch.watch import Row
from ion.model.job import Failure, FailureClass
from ion.model.module import Module
from ion.model.told import Told

PREPARE, MODULE, COMMIT = "prepare", "module", "commit"
TROUBLE, LATE = 125, 124
"""The task's exit codes for a step of Ion's that failed, and for a module that was late."""
_NOT_RUN = (126, 127)
"""Docker's exit codes for a program that is not in the image, or is none."""
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]+)?")
_KILLED = (-1, 128 + signal.SIGTERM, 128 + signal.SIGKILL)
"""What a task has that did not end by itself."""
_ENDED = "TaskEnded"
_MESSAGE_MOST = 1000


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a step's container ended. `refused` says why it could not be started."""

    code: int
    out_of_memory: bool = False
    late: bool = False
    refused: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says became of each step; empty where it cannot be read. The module ran from `began_s` to
    `ended_s`, in seconds since the epoch by the node's clock; 0 for not yet.
    """

    began_s: float = 0.0
    ended_s: float = 0.0
    steps: dict[str, End] = {}
    told: dict[str, Told] = {}
    trouble: str = ""

    @property
    def execution(self) -> str:
        return (self.told.get(COMMIT) or Told()).execution or (self.told.get(PREPARE) or Told()).execution


def read_report(raw: bytes) -> Report:
    """Reads `report.txt`; a line that cannot be read, for the node died while it was written, says nothing."""
    steps: dict[str, End] = {}
    told: dict[str, Told] = {}
    trouble, times = "", {"begun": 0.0, "over": 0.0}
    for line in raw.decode(errors="replace").splitlines():
        kind, _, rest = line.partition(" ")
        step, _, what = rest.partition(" ")
        if kind == "trouble":
            trouble = rest
        elif kind in times:
            times[kind] = _seconds(what)
        elif kind == "told":
            told[step] = _told(what)
        elif kind in ("ended", "refused") and (end := _end(kind, what)) is not None:
            steps[step] = end
    return Report(steps=steps, told=told, trouble=trouble, began_s=times["begun"], ended_s=times["over"])


def _told(text: str) -> Told:
    try:
        return msgspec.json.decode(text, type=Told)
    except msgspec.DecodeError:
        return Told()


def _seconds(text: str) -> float:
    return float(text) if _SECONDS.fullmatch(text) else 0.0


def _end(kind: str, text: str) -> End | None:
    code, _, rest = text.partition(" ")
    if not code.isdigit():
        return None
    if kind == "refused":
        return End(code=int(code), refused=rest.strip() or "docker does not say why")
    words = rest.split()
    return End(code=int(code), out_of_memory=words[:1] == ["true"], late="late" in words)


def failure_of(row: Row, report: Report, module: Module, settings: BatchSettings) -> Failure | None:
    """How a task that has completed failed; None if it committed."""
    if (commit := report.steps.get(COMMIT)) is not None and not commit.code:
        return None
    if row.exit_code == 0:
        return None
    if report.trouble:
        return trouble(report.trouble)
    for step in (PREPARE, MODULE, COMMIT):
        end = report.steps.get(step)
        if end is not None and end.code:
            return _of_module(end, module) if step == MODULE else _of_ours(step, end, report)
        if end is not None and end.late and step == MODULE:
            return ends.late(module)
    return _by_batch(row, report, module, settings)


def _of_module(end: End, module: Module) -> Failure:
    if end.refused:
        kind = FailureClass.CONTRACT if end.code in _NOT_RUN else FailureClass.INFRASTRUCTURE
        return Failure(kind=kind, message=f"the module could not be started: {said(end.refused)}")
    if end.late:
        return ends.late(module)
    code = _signed(end.code)
    kind, message = FailureClass.MODULE, ends.sentence(code)
    if end.out_of_memory:
        kind, message = FailureClass.MEMORY, f"{message}: out of memory"
    elif code == -signal.SIGKILL:  # no module does that to itself: it is as if the node had gone
        kind, message = FailureClass.LOST, f"{message}, by hand or by another program of its node"
    return Failure(kind=kind, message=message, exit_code=code)


def _of_ours(step: str, end: End, report: Report) -> Failure:
    """Never the module's fault but by the handler's own word."""
    failure = (report.told.get(step) or Told()).failure
    if failure is not None:
        known = {kind.value: kind for kind in FailureClass}
        return Failure(kind=known.get(failure.kind, FailureClass.INFRASTRUCTURE), message=failure.message)
    if end.refused:
        return trouble(f"{step} could not be started: {end.refused}")
    if end.late:
        return trouble(f"{step} took longer than the setting `slack` allows")
    return trouble(f"{step} ended with {ends.sentence(_signed(end.code))} and did not say why; see the log")


def _by_batch(row: Row, report: Report, module: Module, settings: BatchSettings) -> Failure:
    """The node did not say how it ended: by Batch's word for it."""
    told = said(row.message) or "Batch does not say why"
    ended = lost(f"its task was ended by somebody else: {told}")
    if not row.started_s:
        refused = trouble(f"its task could not be started ({row.code or 'no code'}): {told}")
        return ended if row.code == _ENDED else refused
    if row.exit_code == LATE:
        return ends.late(module)
    if (most_s := seconds(module, settings)) <= row.ended_s - row.started_s:
        before = trouble(f"Batch ended its task after {most_s} s, and the module had not begun: see the log")
        return ends.late(module) if report.began_s else before
    if row.exit_code is not None and row.exit_code not in _KILLED:
        return _by_exit_code(row.exit_code)
    if row.code == _ENDED:
        return ended
    message = f"its task failed on the node ({row.code or 'no code'}): {told}"
    return trouble(message) if row.category == "usererror" and row.exit_code is None else lost(message)


def _by_exit_code(exit_code: int) -> Failure:
    if exit_code == TROUBLE:
        return trouble("a step of Ion's failed on the node, whose report cannot be read any more; see the log")
    code = _signed(exit_code)
    return Failure(kind=FailureClass.MODULE, message=ends.sentence(code), exit_code=code)


def vanished() -> Failure:
    return lost("its task is gone: somebody else deleted it, or its Batch job")


def lost(message: str) -> Failure:
    return Failure(kind=FailureClass.LOST, message=message)


def trouble(message: str) -> Failure:
    return Failure(kind=FailureClass.INFRASTRUCTURE, message=said(message))


def said(message: object) -> str:
    """A message as one line that can be shown."""
    line = " ".join(str(message or "").split())
    return line if len(line) <= _MESSAGE_MOST else f"{line[:_MESSAGE_MOST]}…"


def _signed(code: int) -> int:
    """An exit code as it is told everywhere in Ion: negative for a signal."""
    return 128 - code if 128 < code <= 128 + signal.SIGRTMAX else code
