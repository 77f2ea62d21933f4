"""Retention: `ion gc` dies at each of its steps and is started again; `ion up` collects by itself."""

import signal
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.crash import COLLECTING, FORGETTING

from ion.dispatcher.stores import Stores
from ion.management.audit import Severity
from ion.model.job import State
from ion.ports.documents import RecordFilter

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

WIDTH = 4
PIPELINE = """
ion: 1
name: kept
retention: RETENTION
defaults: {concurrency: 4, retries: {module: 1, backoff: 10ms}}
machine: {cpu: 4}
modules:
  split: {command: [sh, split.sh], on: go, emits: [part]}
  work: {command: [sh, work.sh], on: part, emits: [done]}
  end: {command: [sh, end.sh], on: done, emits: [told]}
"""
SPLIT = f"""
for i in $(seq {WIDTH}); do
  echo $i > "$ION_DIR/out/data/$i.txt"
  echo '{{"type": "part", "files": ["'$i'.txt"], "subject": "'$i'"}}' > "$ION_DIR/out/events/$i.json"
done
"""
WORK = """
echo attempt $ION_ATTEMPT
[ $ION_ATTEMPT = 1 ] && [ -e "$ION_DIR/in/data/3.txt" ] && exit 9
[ -e "$ION_DIR/in/data/4.txt" ] && exit 9
cp "$ION_DIR"/in/data/*.txt "$ION_DIR/out/data/copy.txt"
head -c 40000 /dev/zero | tr '\\\\0' x > "$ION_DIR/out/big"
echo '{"seen": 1}' > "$ION_DIR/out/insights.json"
echo "{\\"type\\": \\"done\\", \\"files\\": [\\"copy.txt\\"], \\"data\\": {\\"big\\": \\"$(cat $ION_DIR/out/big)\\"}}" \
  > "$ION_DIR/out/events/done.json"
"""
END = """
echo result > "$ION_DIR/out/data/result.txt"
echo '{"type": "told", "files": ["result.txt"], "inputs": ["copy.txt"]}' > "$ION_DIR/out/events/told.json"
"""
EVERYTHING = "{intermediates: 1ms, results: 1ms, failed: 1ms, logs: 1ms, ids: 1ms}"
INTERMEDIATES = "{intermediates: 1ms, logs: 1ms}"


def ended(pipeline: "Pipeline", retention: str) -> None:
    """A flow of three modules has ended: one job died, another at its second attempt was good, each leaf passes an
    input on.
    """
    pipeline.write(PIPELINE.replace("RETENTION", retention))
    for name, text in (("split", SPLIT), ("work", WORK), ("end", END)):
        (pipeline.folder / f"{name}.sh").write_text(text)
    pipeline.ion("run", "--event", "go", "--retries", code=1)


def faults(pipeline: "Pipeline") -> list[str]:
    return [finding.message for finding in pipeline.audit() if finding.severity is Severity.FAULT]


async def left(stores: Stores) -> tuple[int, int]:
    """How many blobs and records there are."""
    return (
        len([blob async for blob in stores.blobs.list("")]),
        len([record async for record in stores.documents.query(RecordFilter())]),
    )


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("step", COLLECTING)
def test_a_death_at_any_step_of_collecting_everything(pipeline: "Pipeline", step: str, number: int) -> None:
    """At no instant does a row promise what is gone, and the next collection finishes what the killed one began."""
    ended(pipeline, EVERYTHING)
    assert pipeline.start_program("crash.py", step, str(number), "gc").wait(PATIENCE_S) == -signal.SIGKILL
    assert faults(pipeline) == []
    pipeline.ion("gc")
    assert faults(pipeline) == []
    assert pipeline.do(left) == (0, 0)
    assert {job.state for job in pipeline.jobs()} == {State.EXPIRED}
    pipeline.ion("gc")
    assert pipeline.jobs() == []
    assert pipeline.audit() == []


@pytest.mark.parametrize("step", FORGETTING)
def test_a_death_while_a_flow_is_forgotten(pipeline: "Pipeline", step: str) -> None:
    """What is left of the flow goes the next time."""
    ended(pipeline, EVERYTHING)
    pipeline.ion("gc")
    assert pipeline.start_program("crash.py", step, "1", "gc").wait(PATIENCE_S) == -signal.SIGKILL
    pipeline.ion("gc")
    assert pipeline.jobs() == []
    assert pipeline.audit() == []


@pytest.mark.parametrize("step", [step for step in COLLECTING if "strip" not in step])
def test_a_death_at_any_step_of_collecting_intermediates(pipeline: "Pipeline", step: str) -> None:
    """Leaves keep their files and what they pass on, the dead letter what it needs: redriven, it succeeds."""
    ended(pipeline, INTERMEDIATES)
    assert pipeline.start_program("crash.py", step, "2", "gc").wait(PATIENCE_S) == -signal.SIGKILL
    assert faults(pipeline) == []
    pipeline.ion("gc")
    assert faults(pipeline) == []
    kept = sorted(path.name for path in (pipeline.store / "blobs").glob("*/*/*/*/data/*"))
    assert kept == ["4.txt", *["copy.txt"] * 3, *["result.txt"] * 3]
    (pipeline.folder / "work.sh").write_text(WORK.replace("4.txt", "none.txt"))
    pipeline.ion("dlq", "redrive", "--all")
    pipeline.ion("run")
    pipeline.ion("gc")
    kept = sorted(path.name for path in (pipeline.store / "blobs").glob("*/*/*/*/data/*"))
    assert kept == [*["copy.txt"] * 4, *["result.txt"] * 4]
    assert faults(pipeline) == []


def test_a_served_pipeline_collects_by_itself(pipeline: "Pipeline") -> None:
    """`ion up` deletes what its retention no longer keeps, without being asked."""
    ended(pipeline, EVERYTHING)
    server = pipeline.start("up", "--port", "0")
    pipeline.until(lambda: pipeline.do(left) == (0, 0))
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
    assert faults(pipeline) == []
