"""What becomes of a failed attempt: the budgets of the module, class by class, and the wait between two tries."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.dispatcher.retry import TROUBLES_LEAST, decide, delay_s, is_modules_own
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Module, Retries
from ion.ports.ledger import Bury, Retry
from ion.testing.conformance.ledger_stage import EPOCH, waiting_job

COUNTED = {
    FailureClass.MODULE: "module",
    FailureClass.TIMEOUT: "timeout",
    FailureClass.MEMORY: "memory",
    FailureClass.LOST: "lost",
}
BUDGETS = {"module": 2, "timeout": 3, "memory": 4, "lost": 5}
WITH_BUDGETS = Module(name="detect", retries=Retries(**BUDGETS))
chances = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


def failed(**counts: int) -> Job:
    """A job with so many failed attempts behind it, by class."""
    return waiting_job(flow="flow", failures={FailureClass(kind): count for kind, count in counts.items()})


def failing(kind: FailureClass, *, exit_code: int | None = None) -> Failure:
    return Failure(kind=kind, message="it broke", exit_code=exit_code)


def becomes(job: Job, failure: Failure, module: Module = WITH_BUDGETS, *, after_s: float = 0.0) -> Retry | Bury:
    return decide(job, failure, module, now=EPOCH + timedelta(seconds=after_s), chance=0.5)


@pytest.mark.parametrize(("kind", "budget"), COUNTED.items())
def test_each_class_has_its_own_budget_of_further_attempts(kind: FailureClass, budget: str) -> None:
    """`n` retries are `n` attempts after the first, whatever failed otherwise."""
    others = {str(other): 99 for other in COUNTED if other is not kind}
    most = BUDGETS[budget]
    assert isinstance(becomes(failed(**others, **{str(kind): most - 1}), failing(kind)), Retry)
    assert isinstance(becomes(failed(**others, **{str(kind): most}), failing(kind)), Bury)


@pytest.mark.parametrize(("kind", "budget"), COUNTED.items())
def test_a_budget_of_nothing_is_spent_by_the_first_failure(kind: FailureClass, budget: str) -> None:
    """`retries: 0` means one attempt in all."""
    without = Module(name="detect", retries=Retries(**{**BUDGETS, budget: 0}))
    assert isinstance(becomes(failed(), failing(kind), without), Bury)


def test_output_that_breaks_the_contract_is_final() -> None:
    """It would be broken the same way again, so no budget helps."""
    generous = Module(name="detect", retries=Retries(module=99, timeout=99, memory=99, lost=99))
    failure = failing(FailureClass.CONTRACT)
    assert becomes(failed(), failure, generous) == Bury(failure=failure)


def test_an_exit_code_that_the_module_calls_final_is_not_tried_again() -> None:
    """`no_retry_on` names exit codes; any other is within the budget."""
    module = msgspec.structs.replace(WITH_BUDGETS, no_retry_on=(3, 65))
    assert isinstance(becomes(failed(), failing(FailureClass.MODULE, exit_code=65), module), Bury)
    assert isinstance(becomes(failed(), failing(FailureClass.MODULE, exit_code=1), module), Retry)
    assert isinstance(becomes(failed(), failing(FailureClass.MODULE), module), Retry)


def test_infrastructure_is_counted_in_time_and_not_in_tries() -> None:
    """A thousand failures within the time are borne; one after it is the end."""
    module = Module(name="detect", retries=Retries(infrastructure_s=60.0))
    troubled = msgspec.structs.replace(failed(infrastructure=1000), troubled_at=EPOCH)
    failure = failing(FailureClass.INFRASTRUCTURE)
    assert isinstance(becomes(troubled, failure, module, after_s=59.0), Retry)
    assert isinstance(becomes(troubled, failure, module, after_s=60.0), Bury)


@pytest.mark.parametrize(("budget_s", "borne"), [(24 * 3600.0, TROUBLES_LEAST), (60.0, 5), (0.0, 0)])
def test_a_clock_that_is_set_ahead_does_not_end_a_job_in_trouble(budget_s: float, borne: int) -> None:
    """Some failures are borne whatever the time says: ten, or as many as a shorter budget has room for."""
    module = Module(name="detect", retries=Retries(infrastructure_s=budget_s))
    failure = failing(FailureClass.INFRASTRUCTURE)
    for count in range(borne + 1):
        troubled = msgspec.structs.replace(failed(infrastructure=count), troubled_at=EPOCH)
        kind = Bury if count == borne else Retry
        assert isinstance(becomes(troubled, failure, module, after_s=budget_s + 1.0), kind)


def test_the_time_of_trouble_begins_with_its_first_failure() -> None:
    """A job that waited for days before is not late because of that."""
    job = msgspec.structs.replace(failed(), admitted_at=EPOCH - timedelta(days=9))
    assert isinstance(becomes(job, failing(FailureClass.INFRASTRUCTURE)), Retry)


def test_infrastructure_never_burns_the_budget_of_the_module() -> None:
    """After a night without images the module still has all its own tries."""
    job = failed(infrastructure=500)
    assert isinstance(becomes(job, failing(FailureClass.MODULE)), Retry)


@pytest.mark.parametrize(
    ("failure", "own"),
    [
        (failing(FailureClass.MODULE, exit_code=3), True),
        (failing(FailureClass.CONTRACT), True),
        (failing(FailureClass.TIMEOUT), True),
        (failing(FailureClass.MEMORY), True),
        (failing(FailureClass.LOST, exit_code=-9), True),
        (failing(FailureClass.LOST), False),
        (failing(FailureClass.INFRASTRUCTURE), False),
    ],
)
def test_a_failure_is_the_modules_own_unless_its_dispatcher_host_or_stores_failed(failure: Failure, own: bool) -> None:
    """A module that was killed by somebody has an exit code; one whose host went away has none."""
    assert is_modules_own(failure) is own


@given(st.integers(0, 8), chances)
def test_a_module_that_always_fails_is_run_once_and_then_as_often_as_its_budget(budget: int, chance: float) -> None:
    """Counting each failure as the ledger does, the job is buried after `budget + 1` attempts."""
    module = Module(name="detect", retries=Retries(module=budget))
    attempts, outcome = 0, None
    while not isinstance(outcome, Bury):
        failure = failing(FailureClass.MODULE)
        outcome = decide(failed(module=attempts), failure, module, now=EPOCH, chance=chance)
        attempts += 1
    assert attempts == budget + 1


@given(failures=st.integers(0, 10_000), first=st.floats(0.001, 100.0), most=st.floats(0.001, 1e6), chance=chances)
def test_the_wait_doubles_up_to_its_bound_and_keeps_within_its_upper_half(
    failures: int, first: float, most: float, chance: float
) -> None:
    """However often it failed: never above the bound, never below half of what is due."""
    waits = delay_s(failures, Retries(backoff_s=first, backoff_most_s=most), chance)
    full = min(most, first * 2.0 ** min(failures, 60))
    assert full / 2 <= waits <= most
    if full < most:
        assert waits <= full


@given(st.integers(0, 40), chances, chances)
def test_jobs_that_failed_together_do_not_come_back_together(failures: int, one: float, other: float) -> None:
    """The wait grows with the chance, so that no two chances share it."""
    budget = Retries()
    first, second = delay_s(failures, budget, min(one, other)), delay_s(failures, budget, max(one, other))
    assert first <= second
    if abs(one - other) > 1e-9:
        assert first < second


def test_a_retry_waits_by_the_failures_of_its_own_class() -> None:
    """The third time-out waits four times as long as the first, whatever else went wrong."""
    outcome = becomes(failed(timeout=2, module=7), failing(FailureClass.TIMEOUT))
    assert outcome == Retry(failure=failing(FailureClass.TIMEOUT), delay_s=4 * 1.0 * 0.75)
