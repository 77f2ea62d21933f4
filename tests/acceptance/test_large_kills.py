"""R1, R2, R3 at some size: thousands of jobs, whose dispatchers and processes are killed at random, again and again."""

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.fan import assert_all_done_once, beats, kill_a_job, lay

from ion.model.job import State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

WIDTH = 2_000
SOME = 300
KILLS = 15


def test_thousands_of_jobs_outlive_any_kill(pipeline: "Pipeline") -> None:
    """`ion run` and the process groups of jobs are killed at random; what is left runs to its end, all of it once."""
    lay(pipeline, WIDTH)
    chance = seeded()
    process = pipeline.start("run", "--event", "go", "--retries")
    kills = 0
    while process.poll() is None:
        time.sleep(chance.uniform(0.0, 0.4))  # a random point is the point
        if chance.random() < 0.7 or kills == KILLS:
            kill_a_job(pipeline, chance)
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        # Killed before the root event was admitted, nothing of it may be there, and it is raised again.
        process = pipeline.start("run", "--retries", *([] if pipeline.jobs("cli") else ["--event", "go"]))
    assert process.returncode == 0, (pipeline.folder / "output").read_text()[-3000:]
    assert kills > KILLS / 2
    assert_all_done_once(pipeline, WIDTH)


def test_of_three_dispatchers_one_is_killed_and_one_sleeps(pipeline: "Pipeline") -> None:
    """The third takes over from both; on waking, the one that slept past its lease spoils nothing."""
    lay(pipeline, SOME)
    chance = seeded()
    output = pipeline.folder / "output"
    sleeper, victim, steady = (pipeline.start_program("short_lease.py", str(pipeline.store)) for _ in range(3))
    pipeline.until(lambda: output.read_bytes().count(b"open") == 3)
    for _ in range(2):
        pipeline.ion("event", "create", "--event-type", "go")
    some = chance.randrange(SOME // 2)
    pipeline.until(lambda: released(pipeline) > some)
    pipeline.put_to_sleep(sleeper)
    time.sleep(chance.uniform(0.0, 0.5))  # a random point is the point
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    pipeline.until(lambda: beats(pipeline).keys() == {steady.pid})
    time.sleep(chance.uniform(0.0, 0.5))
    sleeper.send_signal(signal.SIGCONT)
    while any(flow["open"] for flow in pipeline.json("flow", "list", "--json")):
        kill_a_job(pipeline, chance)
    for process in (sleeper, steady):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, output.read_text()[-3000:]
    pipeline.ion("run", "--retries")  # a dead dispatcher that had no job leaves spare folders for the next that starts
    assert_all_done_once(pipeline, SOME, roots=2)


def released(pipeline: "Pipeline") -> int:
    return sum(job.state is State.RELEASED for job in pipeline.jobs("work"))


def seeded() -> random.Random:
    """Another chance each time; the seed is shown when the test fails."""
    seed = int(os.environ.get("ION_SEED") or random.SystemRandom().randrange(10**6))
    print(f"ION_SEED={seed}")
    return random.Random(seed)
