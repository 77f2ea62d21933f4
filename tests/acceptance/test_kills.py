"""R1, R2, R3: processes are killed at random points of a fan-out, again and again, and the ledger is audited."""

import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S

from ion.dispatcher.stores import Stores
from ion.management.audit import Severity
from ion.model.job import State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

WIDTH = 250
PIPELINE = """
ion: 1
name: fan
defaults: {concurrency: 8, retries: {module: 3, lost: 50, backoff: 10ms, backoff_most: 50ms}}
machine: {cpu: 8}
modules:
  split:
    command: [sh, split.sh]
    on: go
    emits: [part]
  work:
    command: [sh, work.sh]
    on: part
    emits: [done]
  end:
    command: [sh, -c, 'echo "end $ION_EVENT_ID" >> TRACES']
    on: done
"""
SPLIT = f"""
i=0
while [ $i -lt {WIDTH} ]; do
  echo "$i" > "$ION_DIR/out/data/$i.txt"
  printf '{{"type": "part", "files": ["%s.txt"], "subject": "%s"}}' $i $i > "$ION_DIR/out/events/$i.json"
  i=$((i+1))
done
"""
WORK = """
cat "$ION_DIR"/in/data/*.txt > "$ION_DIR/out/data/copy.txt"
echo '{"seen": 1}' > "$ION_DIR/out/insights.json"
echo '{"type": "done", "files": ["copy.txt"]}' > "$ION_DIR/out/events/done.json"
"""


@pytest.fixture
def fan(pipeline: "Pipeline") -> "Pipeline":
    """One job that raises 250 events, each of which starts a job that starts another."""
    pipeline.write(PIPELINE)
    (pipeline.folder / "split.sh").write_text(SPLIT)
    (pipeline.folder / "work.sh").write_text(WORK)
    return pipeline


def assert_all_done_once(fan: "Pipeline", roots: int = 1) -> None:
    """Every job of the whole fan is there and released, every event recorded once, and nothing is left over."""
    jobs = Counter((job.module, job.state) for job in fan.jobs())
    expected = {"split": roots, "work": roots * WIDTH, "end": roots * WIDTH}
    assert {key: count for key, count in jobs.items() if key[0] in expected} == {
        (module, State.RELEASED): count for module, count in expected.items()
    }
    assert [finding for finding in fan.audit() if finding.severity is Severity.FAULT] == []

    async def events(stores: Stores) -> Counter[str]:
        found: Counter[str] = Counter()
        async for record in stores.documents.query(RecordFilter(kind=Kind.EVENT_META)):
            found[record.body["type"]] += 1
        return found

    assert fan.do(events) == {"go": roots, "part": roots * WIDTH, "done": roots * WIDTH}
    assert fan.processes() == []
    left = [path.name for path in (fan.store / "work").iterdir() if not path.name.startswith(".")]
    assert left == []


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_is_finished(fan: "Pipeline", seed: int) -> None:
    """`ion run` is killed with SIGKILL at random points; going on with it ends with everything done exactly once."""
    chance = random.Random(seed)
    process = fan.start("run", "--event", "go", "--retries")
    for _ in range(8):
        time.sleep(chance.uniform(0.3, 0.9))  # a random point is the point
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Killed before the root event was admitted, nothing of it may be there, and it is raised again.
        process = fan.start("run", "--retries", *([] if fan.jobs() else ["--event", "go"]))
    assert process.wait(PATIENCE_S) == 0, (fan.folder / "output").read_text()[-3000:]
    assert_all_done_once(fan)


def test_of_two_dispatchers_one_is_killed_again_and_again(fan: "Pipeline") -> None:
    """Two serve one store; one is killed at random and comes back, the other takes over; nothing is lost or doubled."""
    chance = random.Random(7)
    steady = fan.start("up", "--port", "0")
    fan.until(lambda: (fan.store / "ion.db").exists() and b"front API" in (fan.folder / "output").read_bytes())
    for _ in range(2):
        fan.ion("event", "create", "--event-type", "go")
    for _ in range(5):
        killed = fan.start("up", "--port", "0")
        time.sleep(chance.uniform(0.3, 1.2))  # a random point is the point
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    fan.until(lambda: all(flow["open"] == 0 for flow in fan.json("flow", "list", "--json")))
    steady.send_signal(signal.SIGTERM)
    assert steady.wait(PATIENCE_S) == 0
    fan.ion("run", "--retries")  # a dead dispatcher that had no job leaves spare folders for the next that starts
    assert_all_done_once(fan, roots=2)


def test_modules_that_are_killed_are_run_again(fan: "Pipeline") -> None:
    """The processes of jobs are killed at random, by somebody else: each such attempt is lost, and made again."""
    chance = random.Random(11)
    process = fan.start("run", "--event", "go", "--retries")
    killed = 0
    while process.poll() is None and killed < 30:
        if running := fan.processes():
            try:
                os.kill(chance.choice(running), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
        time.sleep(chance.uniform(0.0, 0.02))
    assert process.wait(PATIENCE_S) == 0, (fan.folder / "output").read_text()[-3000:]
    assert killed > 5
    assert_all_done_once(fan)
