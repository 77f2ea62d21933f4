"""What becomes of a failed attempt. Pure: the budgets are the module's, the counts the job's (R5)."""

from datetime import datetime
from itertools import accumulate

from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Module, Retries
from ion.ports.ledger import Bury, Retry

TROUBLES_LEAST = 10
"""So many infrastructure failures are borne whatever the time: the clock may have been set ahead since the first."""


def is_modules_own(failure: Failure) -> bool:
    """Whether the module failed by itself or was ended, and not because its dispatcher, host or stores did."""
    return failure.kind is not FailureClass.INFRASTRUCTURE and (
        failure.kind is not FailureClass.LOST or failure.exit_code is not None
    )


def decide(job: Job, failure: Failure, module: Module, *, now: datetime, chance: float) -> Retry | Bury:
    """Whether the job is tried again, and after how long.

    Args:
        job: As it was before this failure is counted.
        failure: How the attempt ended.
        module: The revision that it ran.
        now: The ledger's clock.
        chance: A random number in [0, 1), for the jitter.
    """
    failed = job.failures.get(failure.kind, 0)
    if not _may_retry(job, failure, module, failed, now):
        return Bury(failure=failure)
    return Retry(failure=failure, delay_s=delay_s(failed, module.retries, chance))


def _may_retry(job: Job, failure: Failure, module: Module, failed: int, now: datetime) -> bool:
    budget = module.retries
    if failure.exit_code is not None and failure.exit_code in module.no_retry_on:
        return False
    if failure.kind is FailureClass.INFRASTRUCTURE:  # counted in time, not in tries
        since = job.troubled_at or now
        return (now - since).total_seconds() < budget.infrastructure_s or failed < _least_troubles(budget)
    tries = {
        FailureClass.CONTRACT: 0,
        FailureClass.MODULE: budget.module,
        FailureClass.TIMEOUT: budget.timeout,
        FailureClass.MEMORY: budget.memory,
        FailureClass.LOST: budget.lost,
    }
    return failed < tries[failure.kind]


def _least_troubles(budget: Retries) -> int:
    """`TROUBLES_LEAST`, or as many as the time budget has room for: a short one is not stretched by their back-offs."""
    pauses = accumulate(_full_delay_s(failed, budget) for failed in range(TROUBLES_LEAST))
    return sum(pause_s <= budget.infrastructure_s for pause_s in pauses)


def delay_s(failed: int, budget: Retries, chance: float) -> float:
    """Exponential back-off after `failed` earlier failures, with jitter over its upper half.

    The jitter keeps a thousand jobs that failed together from coming back together.
    """
    return _full_delay_s(failed, budget) * (0.5 + chance / 2)


def _full_delay_s(failed: int, budget: Retries) -> float:
    return min(budget.backoff_most_s, budget.backoff_s * 2.0 ** min(failed, 32))
