"""How attempts end badly here: which class of failure it is, and one sentence about it."""

import signal
from pathlib import Path

from ion.adapters.executors.ends import sentence
from ion.adapters.executors.local.leases import Broken
from ion.adapters.executors.local.process import Exit
from ion.model.job import Failure, FailureClass

_MIB = 2**20


def of_exit(ended: Exit) -> Failure | None:
    """What the end of a module that nobody stopped says; None if it ended well."""
    if ended.trouble:
        kind = FailureClass.CONTRACT if ended.permanent else FailureClass.INFRASTRUCTURE
        return Failure(kind=kind, message=ended.trouble)
    if ended.code == 0:
        return None
    kind, message = FailureClass.MODULE, sentence(ended.code)
    if ended.out_of_memory:
        kind, message = FailureClass.MEMORY, f"{message}: out of memory"
    elif ended.code == -signal.SIGKILL:  # no module does that to itself: it is as if the machine had gone
        kind, message = FailureClass.LOST, f"{message}, by hand or by another program of this machine"
    return Failure(kind=kind, message=message, exit_code=ended.code)


def too_large(used: int, limit: int) -> Failure:
    """Both in bytes."""
    message = f"it used {used / _MIB:.0f} MiB of memory, its limit is {limit / _MIB:.0f} MiB"
    return Failure(kind=FailureClass.MEMORY, message=message)


def wrote(broken: Broken, directory: Path) -> Failure:
    """A linked input below `directory` was opened for writing."""
    path = Path(broken.path).relative_to(directory)
    if not broken.sure:
        message = f"somebody opened its input {path} for writing, perhaps another module"
        return Failure(kind=FailureClass.LOST, message=message)
    message = f"the module writes to its input {path}: copy it to out/data or the scratch folder first"
    return Failure(kind=FailureClass.CONTRACT, message=message)


def unguarded() -> Failure:
    return Failure(
        kind=FailureClass.INFRASTRUCTURE, message="the guard of its linked inputs was gone; it is made again"
    )
