"""Which job the code that runs now works on, so that its log lines can say so.

A dispatcher sets it around its work on a job. Tasks that are started meanwhile inherit it: an executor's task for an
attempt, say. Nothing but what is told about the work reads it; the work itself never does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ion.model.job import Job

_JOB: ContextVar[Job | None] = ContextVar("job", default=None)


@contextmanager
def concerning(job: Job | None) -> Iterator[None]:
    """What is done in this context is done for this job."""
    token = _JOB.set(job)
    try:
        yield
    finally:
        _JOB.reset(token)


def job_concerned() -> Job | None:
    """The job that is worked on; None where it is none in particular."""
    return _JOB.get()
