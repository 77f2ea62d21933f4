"""What becomes of failed attempts, over whole lives of jobs with any budgets: never more than the module allows."""

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.profile import examples

from ion.dispatcher.retry import TROUBLES_LEAST, decide, delay_s, is_modules_own
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Module, Retries
from ion.ports.ledger import Bury, Retry
from ion.testing.conformance.ledger_stage import EPOCH, waiting_job

COUNTED = (FailureClass.MODULE, FailureClass.TIMEOUT, FailureClass.MEMORY, FailureClass.LOST)

chances = st.floats(0.0, 1.0, exclude_max=True)
seconds = st.floats(0.001, 36_500 * 86_400.0)  # what a pipeline file can say
budgets = st.builds(
    Retries,
    module=st.integers(0, 4),
    timeout=st.integers(0, 4),
    memory=st.integers(0, 4),
    lost=st.integers(0, 4),
    infrastructure_s=seconds,
    backoff_s=seconds,
    backoff_most_s=seconds,
)
modules = st.builds(
    Module, name=st.just("m"), retries=budgets, no_retry_on=st.lists(st.integers(1, 5), max_size=2).map(tuple)
)
failures = st.builds(
    Failure,
    kind=st.sampled_from(FailureClass),
    message=st.just("it broke"),
    exit_code=st.none() | st.integers(-9, 5),
)
failed_times = st.integers(0, 1_000_000)
counts = st.dictionaries(st.sampled_from(FailureClass), st.integers(0, 6), max_size=6)


def job_of(**changes: Any) -> Job:
    return msgspec.structs.replace(waiting_job(flow="flow"), **changes)


def budget_of(module: Module, kind: FailureClass) -> int:
    """How many failures of a class are borne, where they are counted in tries."""
    return 0 if kind is FailureClass.CONTRACT else int(getattr(module.retries, kind.value))


@examples(300)
@given(modules, st.lists(st.tuples(failures, chances, st.floats(0.0, 1e6)), max_size=40))
def test_no_life_of_a_job_has_more_attempts_than_its_budgets(
    module: Module, life: list[tuple[Failure, float, float]]
) -> None:
    """Whatever fails in whatever order, each class is borne as often as it may be, and trouble as long as it may last.

    Failures are counted as the ledger does: by class, and a streak of infrastructure failures by its beginning.
    """
    failed: Counter[FailureClass] = Counter()
    now, since = EPOCH, None
    for failure, chance, waited_s in life:
        now += timedelta(seconds=waited_s)
        job = job_of(failures=dict(failed), troubled_at=since)
        outcome = decide(job, failure, module, now=now, chance=chance)
        assert outcome.failure == failure
        failed[failure.kind] += 1
        infrastructure = failure.kind is FailureClass.INFRASTRUCTURE
        since = (since or now) if infrastructure else None
        if isinstance(outcome, Bury):
            assert (
                failure.exit_code in module.no_retry_on
                or (since is not None and (now - since).total_seconds() >= module.retries.infrastructure_s)
                or (not infrastructure and failed[failure.kind] > budget_of(module, failure.kind))
            )
            return
        assert isinstance(outcome, Retry)
        assert 0 < outcome.delay_s <= module.retries.backoff_most_s
        assert failure.exit_code is None or failure.exit_code not in module.no_retry_on
        if since is not None:
            in_time = (now - since).total_seconds() < module.retries.infrastructure_s
            assert in_time or failed[failure.kind] <= TROUBLES_LEAST
        else:
            assert failed[failure.kind] <= budget_of(module, failure.kind)
    assert failed[FailureClass.CONTRACT] == 0
    assert sum(failed[kind] for kind in COUNTED) <= sum(budget_of(module, kind) for kind in COUNTED)


@examples(300)
@given(
    module=modules,
    failure=failures,
    failed=counts,
    chance=chances,
    troubled_s=seconds,
    more=st.integers(0, 3),
    later_s=st.floats(0.0, 1e9),
)
def test_more_failures_and_more_time_never_help_and_more_budget_never_harms(
    *,
    module: Module,
    failure: Failure,
    failed: dict[FailureClass, int],
    chance: float,
    troubled_s: float,
    more: int,
    later_s: float,
) -> None:
    """A job that is buried would be so after further failures too, and later; one tried again, with a larger budget."""
    now = EPOCH + timedelta(days=36_500)
    job = job_of(failures=failed, troubled_at=now - timedelta(seconds=min(troubled_s, 1e9)))

    def buried(job: Job = job, module: Module = module, after_s: float = 0.0) -> bool:
        outcome = decide(job, failure, module, now=now + timedelta(seconds=after_s), chance=chance)
        return isinstance(outcome, Bury)

    worse = job_of(failures={kind: failed.get(kind, 0) + more for kind in FailureClass}, troubled_at=job.troubled_at)
    tries = {kind.value: getattr(module.retries, kind.value) + more for kind in COUNTED}
    larger = msgspec.structs.replace(
        module.retries, **tries, infrastructure_s=module.retries.infrastructure_s + later_s
    )
    assert buried(worse) >= buried()
    assert buried(after_s=later_s) >= buried()
    assert buried(module=msgspec.structs.replace(module, retries=larger)) <= buried()
    assert buried(module=msgspec.structs.replace(module, no_retry_on=())) <= buried()


@examples(300)
@given(st.tuples(failed_times, failed_times), seconds, st.tuples(seconds, seconds), st.tuples(chances, chances))
def test_the_wait_grows_with_everything_that_makes_it_grow(
    failed: tuple[int, int], first: float, bounds: tuple[float, float], luck: tuple[float, float]
) -> None:
    """With the failures, with the first wait, with the bound and with the chance: never the other way round."""
    few, many = sorted(failed)
    low, high = sorted(bounds)
    less, more = sorted(luck)
    budget = Retries(backoff_s=first, backoff_most_s=low)
    waits = delay_s(few, budget, less)
    assert 0 < waits <= low
    assert waits <= delay_s(many, budget, less)
    assert waits <= delay_s(few, budget, more)
    assert waits <= delay_s(few, Retries(backoff_s=first, backoff_most_s=high), less)
    assert waits <= delay_s(few, Retries(backoff_s=first * 2, backoff_most_s=low), less)
    assert waits >= min(first, low) / 2


@examples(100)
@given(modules, failures, counts, chances)
def test_one_cause_has_one_decision(
    module: Module, failure: Failure, failed: dict[FailureClass, int], chance: float
) -> None:
    """Deciding again changes nothing, and other classes' failures do not matter; what is not the module's is not."""
    job = job_of(failures=failed)
    once = decide(job, failure, module, now=EPOCH, chance=chance)
    assert decide(job, failure, module, now=EPOCH, chance=chance) == once
    own = {kind: count for kind, count in failed.items() if kind is failure.kind}
    assert decide(job_of(failures=own), failure, module, now=EPOCH, chance=chance) == once
    if not is_modules_own(failure):
        assert failure.kind in (FailureClass.INFRASTRUCTURE, FailureClass.LOST)
