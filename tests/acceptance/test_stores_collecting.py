"""`ion gc` dies at each of its steps where ledger, documents and blobs are on servers, and is started again."""

import signal
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.crash import COLLECTING, FORGETTING
from tests.acceptance.store_servers import Elsewhere
from tests.acceptance.test_collecting import END, EVERYTHING, INTERMEDIATES, PIPELINE, SPLIT, WORK, faults, left

from ion.dispatcher.stores import Stores
from ion.model.job import State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

LIVE = ("expired", "log dropped", "a blob deleted", "blobs deleted", "records deleted")
"""The steps that have taken something; what lives beside it must stay."""


def ended(pipeline: "Pipeline", elsewhere: Elsewhere, retention: str) -> None:
    """A flow of three modules has ended, one of its jobs dead, one good at its second attempt."""
    pipeline.write(PIPELINE.replace("RETENTION", retention) + elsewhere.sections)
    for name, text in (("split", SPLIT), ("work", WORK), ("end", END)):
        (pipeline.folder / f"{name}.sh").write_text(text)
    pipeline.ion("run", "--event", "go", "--retries", code=1)


def killed(pipeline: "Pipeline", elsewhere: Elsewhere, step: str, number: int) -> None:
    """`ion gc` is killed at that step, and at that instant no row promises what is gone."""
    environ = {"CRASH_DATABASE": elsewhere.kinds}
    died = pipeline.start_program("crash.py", step, str(number), "gc", env=environ).wait(PATIENCE_S)
    assert died == -signal.SIGKILL, (pipeline.folder / "output").read_text()[-4000:]
    assert faults(pipeline) == []


async def data(stores: Stores) -> list[str]:
    """The names of the files that modules left."""
    return sorted([blob.path.rpartition("/")[2] async for blob in stores.blobs.list("") if "/data/" in blob.path])


@pytest.mark.parametrize("step", COLLECTING)
def test_a_death_at_any_step_of_collecting_everything(pipeline: "Pipeline", elsewhere: Elsewhere, step: str) -> None:
    """The next collection finishes what the killed one began, and the one after that forgets the flow."""
    ended(pipeline, elsewhere, EVERYTHING)
    killed(pipeline, elsewhere, step, 3)
    pipeline.ion("gc")
    assert faults(pipeline) == []
    assert pipeline.do(left) == (0, 0)
    assert {job.state for job in pipeline.jobs()} == {State.EXPIRED}
    pipeline.ion("gc")
    assert pipeline.jobs() == []
    assert pipeline.audit() == []


@pytest.mark.parametrize("step", FORGETTING)
def test_a_death_while_a_flow_is_forgotten(pipeline: "Pipeline", elsewhere: Elsewhere, step: str) -> None:
    """What is left of the flow goes the next time."""
    ended(pipeline, elsewhere, EVERYTHING)
    pipeline.ion("gc")
    killed(pipeline, elsewhere, step, 1)
    pipeline.ion("gc")
    assert pipeline.jobs() == []
    assert pipeline.audit() == []


@pytest.mark.parametrize("step", LIVE)
def test_a_death_while_intermediates_are_collected_takes_nothing_that_lives(
    pipeline: "Pipeline", elsewhere: Elsewhere, step: str
) -> None:
    """Leaves keep their files and what they pass on, the dead letter what it needs: redriven, it succeeds."""
    ended(pipeline, elsewhere, INTERMEDIATES)
    killed(pipeline, elsewhere, step, 2)
    pipeline.ion("gc")
    assert faults(pipeline) == []
    assert pipeline.do(data) == ["4.txt", *["copy.txt"] * 3, *["result.txt"] * 3]
    (pipeline.folder / "work.sh").write_text(WORK.replace("4.txt", "none.txt"))
    pipeline.ion("dlq", "redrive", "--all")
    pipeline.ion("run")
    pipeline.ion("gc")
    assert pipeline.do(data) == [*["copy.txt"] * 4, *["result.txt"] * 4]
    assert faults(pipeline) == []
