"""The handler: what happens around a module's run. It speaks to the blob store alone, and holds nothing secret.

    prepare   the event's files and its key/values become a directory, under a new random execution
    (the module runs: it reads `in/`, writes `out/`)
    commit    `out/` is read and judged as a whole; then its files become blobs; the manifest comes last

Until the manifest is there nothing of an execution can be seen, so a handler may be killed at any instruction: what it
stored lies under the execution's own prefix, which nobody reads and the dispatcher clears away. A commit that was cut
short can be made again, with the same workspace and the same result.

`in/` and `out/` are the module's to wreck. So what commit has to know about large inputs as they were prepared is kept
beside the directory, in `NAME.inputs.json`, which a module in a container cannot see.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.handler.handler import JobHandler

__all__ = ["JobHandler"]


def __getattr__(name: str) -> object:
    """All of it is imported when it is used: a process that prepares does not wait for what commits."""
    if name == "JobHandler":
        from ion.handler.handler import JobHandler

        return JobHandler
    raise AttributeError(name)
