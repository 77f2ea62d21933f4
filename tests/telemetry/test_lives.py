"""From when to when each step of an attempt took."""

import msgspec
import pytest
from tests.telemetry.lived import BASE_S, FAILED, at, change, committed, job, manifest

from ion.dispatcher.finish import Progress, Step
from ion.management.telemetry.lives import UNSEEN, Life, Part, Seen, failed_life, released_life
from ion.model.job import Failure, FailureClass, State


def parts(life: Life) -> dict[str, tuple[float, float]]:
    """In seconds after the job was admitted."""
    return {part.value: (began_s - BASE_S, ended_s - BASE_S) for part, began_s, ended_s in life.parts}


def test_steps_follow_each_other_without_gaps() -> None:
    """From the admission to the release, by what the executor saw of the module."""
    seen = Seen(began_s=BASE_S + 12, ended_s=BASE_S + 30, committed_s=BASE_S + 34)
    life = released_life(committed(), seen, BASE_S + 40)
    assert parts(life) == {
        "wait": (0, 10), "prepare": (10, 12), "module": (12, 30), "commit": (30, 34), "release": (34, 40),
    }  # fmt: skip
    assert (life.began_s, life.ended_s) == (BASE_S, BASE_S + 40)


def test_of_a_dispatcher_that_died_the_ledger_tells() -> None:
    """Whoever releases what it had committed knows only the row: the module's time is until its results were stored."""
    life = released_life(committed(), UNSEEN, BASE_S + 40)
    assert parts(life) == {
        "wait": (0, 10), "prepare": (10, 12), "module": (12, 33), "commit": (33, 35), "release": (35, 40),
    }  # fmt: skip


def test_clocks_that_are_apart_turn_no_step_around() -> None:
    """A step begins where the one before it ended, if a clock says that it began earlier."""
    ahead = msgspec.structs.replace(committed(), manifest=manifest(began=9, stored=50))
    life = released_life(ahead, UNSEEN, BASE_S + 40)
    assert parts(life) == {
        "wait": (0, 10), "prepare": (10, 10), "module": (10, 50), "commit": (50, 50), "release": (50, 50),
    }  # fmt: skip


def test_a_retry_waits_from_the_failure_before_it() -> None:
    """Its back-off, and what else it waited for, is its wait; notes in between do not cut that."""
    history = (
        change(0, State.WAITING, 0), change(10, State.RUNNING), change(20, State.WAITING), change(22, State.WAITING),
        change(60, State.RUNNING, 2), change(61, State.RUNNING, 2),
    )  # fmt: skip
    again = job(attempt=2, started_at=at(60), history=history)
    life = failed_life(Progress(job=again, step=Step.DEAD, failure=FAILED), BASE_S + 70)
    assert parts(life) == {"wait": (20, 60)}
    assert life.ended_s == BASE_S + 70


@pytest.mark.parametrize(
    ("failure", "steps"),
    [
        (FAILED, ["wait", "prepare", "module"]),
        (Failure(kind=FailureClass.TIMEOUT, message="late"), ["wait", "prepare", "module"]),
        (Failure(kind=FailureClass.CONTRACT, message="bad"), ["wait", "prepare", "module", "commit"]),
        (Failure(kind=FailureClass.INFRASTRUCTURE, message="away"), ["wait", "prepare", "module", "commit"]),
    ],
)
def test_a_failure_ends_in_the_step_that_it_was_in(failure: Failure, steps: list[str]) -> None:
    """A module's own in the module, a refused or impossible commit in the commit."""
    told = Progress(job=job(), step=Step.FAILED, failure=failure, began_s=BASE_S + 12, ended_s=BASE_S + 30)
    assert list(parts(failed_life(told, BASE_S + 31))) == steps


@pytest.mark.parametrize(
    ("failure", "steps"),
    [
        (Failure(kind=FailureClass.INFRASTRUCTURE, message="no image"), ["wait", "prepare"]),
        (Failure(kind=FailureClass.CONTRACT, message="no program"), ["wait", "prepare"]),
        (Failure(kind=FailureClass.LOST, message="lost"), ["wait"]),
        (Failure(kind=FailureClass.TIMEOUT, message="late"), ["wait"]),
    ],
)
def test_what_failed_before_its_module_began_did_so_in_prepare(failure: Failure, steps: list[str]) -> None:
    """Of one that was lost, or that another dispatcher found late, nobody knows whether its module had begun."""
    told = Progress(job=job(), step=Step.FAILED, failure=failure)
    assert list(parts(failed_life(told, BASE_S + 31))) == steps


def test_a_gateways_job_is_stored_and_released() -> None:
    """It waits for nobody and runs nothing."""
    root = committed(revision="", admitted_at=None, history=())
    life = released_life(root, UNSEEN, BASE_S + 40)
    assert life.root
    assert parts(life) == {"commit": (12, 33), "release": (33, 40)}
    assert Part.MODULE not in parts(life)
