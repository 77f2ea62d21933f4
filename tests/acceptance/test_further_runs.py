"""R2: results are computed again on purpose, and the process dies while the earlier run gives way."""

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.crash import SUPERSEDING

from ion.management.audit import Severity
from ion.model.job import State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

PIPELINE = """
ion: 1
name: again
defaults: {concurrency: 4}
machine: {cpu: 4}
modules:
  split: {command: [sh, split.sh], on: go, emits: [part]}
  work: {command: [sh, work.sh], on: part, emits: [done]}
  end: {command: [sh, end.sh], on: done}
"""
SPLIT = """
[ -e broken ] && exit 1
for i in 1 2 3; do echo '{"type": "part"}' > "$ION_DIR/out/events/$i.json"; done
"""
WORK = """echo '{"type": "done"}' > "$ION_DIR/out/events/done.json"\n"""
END = """cat version > "$ION_DIR/out/data/result.txt"\n"""
ONE_RUN = {("cli", State.RELEASED): 1, ("split", State.RELEASED): 1, ("work", State.RELEASED): 3,
           ("end", State.RELEASED): 3}  # fmt: skip
SUPERSEDED = {("split", State.SUPERSEDED): 1, ("work", State.SUPERSEDED): 3, ("end", State.SUPERSEDED): 3}


@pytest.fixture
def done(pipeline: "Pipeline") -> "Pipeline":
    """A flow that has ended; its results say `one`, and what runs now says `two`."""
    pipeline.write(PIPELINE)
    for name, text in (("split.sh", SPLIT), ("work.sh", WORK), ("end.sh", END), ("version", "one")):
        (pipeline.folder / name).write_text(text)
    pipeline.ion("run", "--event", "go")
    (pipeline.folder / "version").write_text("two")
    return pipeline


def counts(pipeline: "Pipeline") -> Counter[tuple[str, State]]:
    return Counter((job.module, job.state) for job in pipeline.jobs())


def results(pipeline: "Pipeline", state: State) -> list[str]:
    found = [job.id for job in pipeline.jobs("end") if job.state is state]
    return [path.read_text() for job in found for path in (pipeline.store / "blobs").glob(f"*/{job}/*/*/data/*")]


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("step", SUPERSEDING)
def test_a_death_while_the_old_run_gives_way(done: "Pipeline", step: str, number: int) -> None:
    """Going on ends with one whole run that counts and one that is superseded, never with parts of both."""
    done.ion("rerun", "--module", "split")
    assert done.start_program("crash.py", step, str(number), "run").wait(PATIENCE_S) == -signal.SIGKILL
    done.ion("run")
    assert counts(done) == {**ONE_RUN, **SUPERSEDED}
    assert results(done, State.RELEASED) == ["two"] * 3
    assert results(done, State.SUPERSEDED) == ["one"] * 3
    assert [finding for finding in done.audit() if finding.severity is Severity.FAULT] == []


def test_a_run_that_fails_changes_nothing(done: "Pipeline") -> None:
    """The new run dies, and the old results still count."""
    (done.folder / "broken").write_text("")
    done.ion("rerun", "--module", "split")
    done.ion("run", code=1)
    assert counts(done) == {**ONE_RUN, ("split", State.DEAD): 1}
    assert results(done, State.RELEASED) == ["one"] * 3


def test_only_a_part_runs_again(done: "Pipeline") -> None:
    """A run in the middle supersedes what came of it, and leaves its siblings and what is above."""
    done.ion("rerun", done.jobs("work")[0].id)
    done.ion("run")
    assert counts(done) == {**ONE_RUN, ("work", State.SUPERSEDED): 1, ("end", State.SUPERSEDED): 1}
    assert sorted(results(done, State.RELEASED)) == ["one", "one", "two"]
