"""What of the blobs an attempt needs that is prepared and committed elsewhere: its inputs, and a folder for results."""

from ion.model.manifest import attempt_prefix
from ion.ports.blobs import Blobs, Grant
from ion.ports.executor import Assignment

COMMIT_S = 900.0
"""What a grant leaves for preparing and committing."""


def longest_s(assignment: Assignment) -> float:
    """How many seconds an attempt can last from now."""
    module = assignment.revision.module
    return module.start_timeout_s + module.timeout_s + module.grace_s + COMMIT_S


async def grant(blobs: Blobs, assignment: Assignment, lasts_s: float = 0.0) -> Grant:
    """What `prepare`, `commit` and `keep_log` of an attempt need, as long as it can last; see `Blobs.narrowed`.

    Where a store grants nothing for so long, `lasts_s` asks for less, and before the commit for another.

    The folder is the attempt's, not an execution's: platforms run an attempt twice, and each run is an execution of its
    own.
    """
    job = assignment.job
    reads = [file.blob for file in job.event.files]
    if job.event.dataref:
        reads.append(job.event.dataref)
    return await blobs.narrowed(reads, attempt_prefix(job.id, job.attempt), lasts_s or longest_s(assignment))
