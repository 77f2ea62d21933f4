"""R4: the wall clock jumps by a day, forwards or backwards, under real dispatchers: nothing is stuck, dead or doubled.

The processes run with another `clock_gettime` loaded before the C library's, which a file moves. Clocks that cannot
jump are the true ones.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.fan import PROGRAMS, assert_all_done_once, beats, lay

from ion.model.job import FailureClass, Job, State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

DAY = 24 * 3600
WIDTH = 90
"""Below the number of the first part that never ends by itself."""
LEASE_S = 15.0
"""Of dispatchers that see each other: long enough that neither looks dead because the machine is busy."""


class Clock:
    """The wall clock of processes that are started with `env`."""

    def __init__(self, folder: Path) -> None:
        library, self._file = folder / "clock.so", folder / "jump"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, PROGRAMS / "clock.c"], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_JUMP": str(self._file)}
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """From the true time, to so many seconds after it."""
        draft = self._file.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """The true time, until it jumps."""
    if shutil.which("cc") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("a clock that jumps needs a C compiler (cc)")
    return Clock(tmp_path)


def serve(pipeline: "Pipeline", clock: Clock, many: int = 1) -> list["subprocess.Popen[bytes]"]:
    """So many dispatchers with this clock."""
    words = ("short_lease.py", str(pipeline.store), str(LEASE_S))
    started = [pipeline.start_program(*words, env=clock.env) for _ in range(many)]
    pipeline.until(lambda: (pipeline.folder / "output").read_bytes().count(b"open") == many)
    return started


def stop(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    assert [process.wait(PATIENCE_S) for process in processes] == [0] * len(processes)


def some_beats(pipeline: "Pipeline", many: int = 2) -> None:
    """Waits until every dispatcher has beaten so often, and so compared the ledger with its executor in between."""
    before = beats(pipeline)
    pipeline.until(lambda: all(beat >= before[pid] + many for pid, beat in beats(pipeline).items()))


def the_job(pipeline: "Pipeline", module: str = "one") -> Job:
    (job,) = pipeline.jobs(module)
    return job


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_jump_in_mid_run_loses_and_doubles_nothing(pipeline: "Pipeline", clock: Clock, seconds: int) -> None:
    """Nor does any dispatcher take another for dead, and what reads the store can read it."""
    lay(pipeline, WIDTH)
    dispatchers = serve(pipeline, clock, many=2)
    pipeline.ion("event", "create", "--event-type", "go", env=clock.env)
    pipeline.until(lambda: any(job.state is State.RELEASED for job in pipeline.jobs("work")))
    clock.jump(seconds)
    pipeline.until(lambda: all(flow["open"] == 0 for flow in pipeline.json("flow", "list", "--json")))
    some_beats(pipeline)
    assert len(beats(pipeline)) == 2
    stop(dispatchers)
    assert_all_done_once(pipeline, WIDTH)
    assert [job for job in pipeline.jobs() if FailureClass.LOST in job.failures] == []
    for command in (("flow", "list"), ("job", "list"), ("job", "show", the_job(pipeline, "split").id), ("audit",)):
        pipeline.ion(*command, env=clock.env)


def test_what_waits_is_due_at_once_when_the_clock_jumps_ahead(pipeline: "Pipeline", clock: Clock) -> None:
    """It is early by the jump, and runs once."""
    pipeline.write(waits("10h"))
    dispatchers = serve(pipeline, clock)
    pipeline.ion("event", "create", "--event-type", "go", env=clock.env)
    pipeline.until(lambda: the_job(pipeline).state is State.WAITING and the_job(pipeline).attempt == 1)
    clock.jump(DAY)
    pipeline.until(lambda: the_job(pipeline).state is State.RELEASED)
    stop(dispatchers)
    assert list(pipeline.traced()) == ["1", "2"]
    assert pipeline.audit() == []


def test_what_waits_is_not_later_when_the_clock_is_set_back(pipeline: "Pipeline", clock: Clock) -> None:
    """A pause of ten hours does not become one of a day and ten hours: it is over at once."""
    pipeline.write(waits("10h"))
    dispatchers = serve(pipeline, clock)
    pipeline.ion("event", "create", "--event-type", "go", env=clock.env)
    pipeline.until(lambda: the_job(pipeline).state is State.WAITING and the_job(pipeline).attempt == 1)
    clock.jump(-DAY)
    pipeline.until(lambda: the_job(pipeline).state is State.RELEASED)
    stop(dispatchers)
    assert list(pipeline.traced()) == ["1", "2"]


def waits(pause: str) -> str:
    """A module that succeeds in its second attempt, after a pause."""
    return f"""
ion: 1
modules:
  one:
    command: [sh, -c, 'echo $ION_ATTEMPT >> TRACES; [ $ION_ATTEMPT = 2 ]']
    on: go
    retries: {{module: 1, backoff: {pause}, backoff_most: {pause}}}
"""


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_what_runs_is_left_alone(pipeline: "Pipeline", clock: Clock, seconds: int) -> None:
    """A deadline of hours does not come because a clock was set, neither for its own dispatcher nor for another."""
    pipeline.write("""
ion: 1
modules:
  one:
    command: [sh, -c, 'echo $ION_ATTEMPT >> TRACES; until [ -e TRACES.gate ]; do :; done']
    on: go
    timeout: 2h
""")
    dispatchers = serve(pipeline, clock, many=2)
    pipeline.ion("event", "create", "--event-type", "go", env=clock.env)
    pipeline.until(lambda: list(pipeline.traced()) == ["1"])
    clock.jump(seconds)
    some_beats(pipeline)
    (pipeline.folder / "traces.gate").touch()
    pipeline.until(lambda: the_job(pipeline).state not in (State.RUNNING, State.COMMITTED))
    job = the_job(pipeline)
    assert (job.state, job.failures) == (State.RELEASED, {})
    stop(dispatchers)
    assert list(pipeline.traced()) == ["1"]


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_time_limit_is_kept_however_the_clock_jumps(pipeline: "Pipeline", clock: Clock, seconds: int) -> None:
    """A module that hangs is ended after its time limit, which a clock that cannot jump has measured."""
    pipeline.write("""
ion: 1
modules:
  one: {command: [sh, -c, 'echo $ION_ATTEMPT >> TRACES; while :; do :; done'], on: go, timeout: 2s, grace: 100ms}
""")
    dispatchers = serve(pipeline, clock)
    pipeline.ion("event", "create", "--event-type", "go", env=clock.env)
    pipeline.until(lambda: list(pipeline.traced()) == ["1"])
    clock.jump(seconds)
    pipeline.until(lambda: the_job(pipeline).state is State.DEAD)
    stop(dispatchers)
    failure = the_job(pipeline).failure
    assert failure is not None
    assert (failure.kind, failure.message) == (FailureClass.TIMEOUT, "it ran longer than its time limit of 2 s")
