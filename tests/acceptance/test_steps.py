"""R1, R2, R3: the dispatcher dies at each step of a job's life, and is started again."""

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.crash import STEPS

from ion.dispatcher.stores import Stores
from ion.management.audit import Severity
from ion.model.job import State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

WIDTH = 12
PIPELINE = """
ion: 1
name: steps
defaults: {concurrency: 4, retries: {module: 3, backoff: 10ms}}
machine: {cpu: 4}
modules:
  split: {command: [sh, split.sh], on: go, emits: [part]}
  work: {command: [sh, work.sh], on: part, emits: [done]}
  end: {command: 'true', on: done}
"""
SPLIT = f"""
for i in $(seq {WIDTH}); do
  echo $i > "$ION_DIR/out/data/$i.txt"
  echo '{{"type": "part", "files": ["'$i'.txt"], "subject": "'$i'"}}' > "$ION_DIR/out/events/$i.json"
done
"""
WORK = """
echo working on attempt $ION_ATTEMPT
cp "$ION_DIR"/in/data/*.txt "$ION_DIR/out/data/copy.txt"
# Every third fails at first: its second attempt makes it good.
[ $(($(cat "$ION_DIR"/in/data/*.txt) % 3)) = 0 ] && [ $ION_ATTEMPT = 1 ] && exit 9
echo '{"seen": 1}' > "$ION_DIR/out/insights.json"
echo '{"type": "done", "files": ["copy.txt"]}' > "$ION_DIR/out/events/done.json"
"""

RARE = {"root stored": (1,), "log kept": (1, 3), "to be settled": (1, 3), "settled": (1, 3)}
CASES = [(step, number) for step in STEPS for number in RARE.get(step, (1, 6))]


@pytest.mark.parametrize(("step", "number"), CASES)
def test_a_death_at_any_step_loses_and_doubles_nothing(pipeline: "Pipeline", step: str, number: int) -> None:
    """Killed the first time it comes to a step, or a later time, the flow goes on to its end with the next start."""
    pipeline.write(PIPELINE)
    (pipeline.folder / "split.sh").write_text(SPLIT)
    (pipeline.folder / "work.sh").write_text(WORK)
    died = pipeline.start_program("crash.py", step, str(number), "run", "--event", "go", "--retries").wait(PATIENCE_S)
    assert died == -signal.SIGKILL, (pipeline.folder / "output").read_text()
    if not pipeline.jobs():  # it died before the event was admitted: nothing of it is there
        pipeline.ion("run", "--event", "go", "--retries")
    else:
        pipeline.ion("run", "--retries")
    assert Counter((job.module, job.state) for job in pipeline.jobs()) == {
        ("cli", State.RELEASED): 1,
        ("split", State.RELEASED): 1,
        ("work", State.RELEASED): WIDTH,
        ("end", State.RELEASED): WIDTH,
    }
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []
    assert pipeline.do(recorded) == {
        (Kind.EVENT_META, "go"): 1,
        (Kind.EVENT_META, "part"): WIDTH,
        (Kind.EVENT_META, "done"): WIDTH,
        (Kind.INSIGHT, ""): WIDTH,
    }
    assert pipeline.processes() == []
    assert [path for path in (pipeline.store / "work").iterdir() if not path.name.startswith(".")] == []


async def recorded(stores: Stores) -> Counter[tuple[Kind, str]]:
    """How many records there are of each kind, events by type; attempts and so logs may be more than one a job."""
    found: Counter[tuple[Kind, str]] = Counter()
    async for record in stores.documents.query(RecordFilter()):
        if record.context.document_type is not Kind.MODULE_LOGS:
            found[record.context.document_type, record.body.get("type", "")] += 1
    return found
