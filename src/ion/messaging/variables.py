"""The variables of the module contract, the same wherever a module runs."""

import os
from collections.abc import Mapping

from ion.messaging import trace
from ion.ports.executor import Assignment


def contract_variables(assignment: Assignment, sees: str) -> Mapping[str, str]:
    """What every module finds in its environment. `sees` is its directory as it knows it."""
    job, event = assignment.job, assignment.job.event
    return {
        "ION_DIR": sees,
        "HANDLER_BASE_DIR": sees,
        "ION_EVENT_ID": event.id,
        "ION_CORRELATION_ID": event.correlation_id,
        "ION_PARENT_EVENT_ID": event.parent_id,
        "ION_MODULE": assignment.revision.module.name,
        "ION_ATTEMPT": str(job.attempt),
        "TRACEPARENT": trace.child(event.traceparent, job.id),
        "SHARED_SECRET": os.urandom(16).hex(),  # modules of the original read these two; nothing listens any more
        "HANDLER_PORT": "0",
    }
