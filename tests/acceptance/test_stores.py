"""R1, R2, R3 where ledger, documents and blobs are on servers, and dispatchers on several hosts share them.

A host is a folder of its own here, with what a store's folder still holds: running attempts, uploads, locks.
"""

import random
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.crash import STEPS
from tests.acceptance.fan import kill_a_job, lay, whole
from tests.acceptance.fan import recorded as events_recorded
from tests.acceptance.store_servers import Elsewhere
from tests.acceptance.test_large_kills import seeded
from tests.acceptance.test_steps import PIPELINE, SPLIT, WIDTH, WORK, recorded
from tests.waiting import waited

from ion.management.audit import Severity
from ion.model.job import State
from ion.model.record import Kind

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline


SOME = 100
HOSTS = ("one", "two", "three")
NO_STORE = ("ion.adapters.executors", "ion.dispatcher")
"""Steps that touch no store: what `test_steps` finds of them is true here."""


def lay_steps(pipeline: "Pipeline", elsewhere: Elsewhere) -> None:
    pipeline.write(PIPELINE + elsewhere.sections)
    (pipeline.folder / "split.sh").write_text(SPLIT)
    (pipeline.folder / "work.sh").write_text(WORK)


def assert_steps_done_once(pipeline: "Pipeline") -> None:
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


def test_a_pipeline_flows_on_servers(pipeline: "Pipeline", elsewhere: Elsewhere) -> None:
    """Every command finds the stores, no secret is written down, and links open what is stored without credentials."""
    lay_steps(pipeline, elsewhere)
    pipeline.ion("run", "--event", "go", "--retries")
    assert_steps_done_once(pipeline)
    assert not (pipeline.store / "ion.db").exists()
    assert not (pipeline.store / "blobs").exists()
    written = b"".join(path.read_bytes() for path in pipeline.store.rglob("*") if path.is_file())
    assert not any(secret.encode() in written for secret in elsewhere.environ.values())
    (job,) = [job for job in pipeline.jobs("work") if job.event.subject == "7"]
    files = {file["role"]: file for file in pipeline.json("job", "files", "--json", job.id)}
    assert urllib.request.urlopen(files["in"]["link"]).read() == b"7\n"
    assert b"working on attempt" in urllib.request.urlopen(files["log"]["link"]).read()
    metas = [one for one in pipeline.json("trace", "flow", "-c", job.correlation_id) if one.get("type") == "done"]
    opened = [urllib.request.urlopen(pair["value"]).read() for meta in metas for pair in meta["data"]]
    assert sorted(opened) == sorted(f"{number}\n".encode() for number in range(1, WIDTH + 1))
    pipeline.ion("job", "pull", "--outputs", job.id, "pulled")
    assert (pipeline.folder / "pulled/out/data/copy.txt").read_text() == "7\n"


@pytest.mark.parametrize("step", [step for step, (module, *_) in STEPS.items() if not module.startswith(NO_STORE)])
def test_a_death_at_any_step_loses_and_doubles_nothing(pipeline: "Pipeline", elsewhere: Elsewhere, step: str) -> None:
    """As on the embedded stores: killed when it first comes to a step, the flow goes on with the next start."""
    lay_steps(pipeline, elsewhere)
    died = pipeline.start_program(
        "crash.py", step, "1", "run", "--event", "go", "--retries", env={"CRASH_DATABASE": elsewhere.kinds}
    ).wait(PATIENCE_S)
    assert died == -signal.SIGKILL, (pipeline.folder / "output").read_text()
    pipeline.ion("run", "--retries", *([] if pipeline.jobs() else ["--event", "go"]))
    assert_steps_done_once(pipeline)
    assert pipeline.processes() == []
    assert [path for path in (pipeline.store / "work").iterdir() if not path.name.startswith(".")] == []


class Hosts:
    """Dispatchers in folders of their own, on the same stores."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self._opened = 0
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            self.running[name] = self._pipeline.start_program("short_lease.py", str(self.folder(name)))
        self._opened += len(names)
        output = self._pipeline.folder / "output"
        self._pipeline.until(lambda: output.read_bytes().count(b"open\n") == self._opened)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            assert process.wait(PATIENCE_S) == 0, (self._pipeline.folder / "output").read_text()[-3000:]

    def folder(self, name: str) -> Path:
        return self._pipeline.folder / name


def test_three_hosts_lose_and_double_nothing(pipeline: "Pipeline", elsewhere: Elsewhere) -> None:
    """One is killed and comes back, one sleeps past its lease, jobs are killed everywhere: all is done once."""
    lay(pipeline, SOME)
    with (pipeline.folder / "ion.yaml").open("a") as file:
        file.write(elsewhere.sections)
    chance, hosts = seeded(), Hosts(pipeline)
    hosts.start(*HOSTS)
    pipeline.store = hosts.folder("one")
    pipeline.ion("--store", str(pipeline.store), "event", "create", "--event-type", "go")
    pipeline.until(lambda: released(pipeline) > chance.randrange(SOME // 2))
    hosts.running["three"].send_signal(signal.SIGSTOP)
    for _ in range(3):
        time.sleep(chance.uniform(0.0, 1.0))  # a random point is the point
        hosts.kill("two")
        pipeline.store = hosts.folder(chance.choice(("one", "three")))
        kill_a_job(pipeline, chance)
        hosts.start("two")
    hosts.running["three"].send_signal(signal.SIGCONT)
    pipeline.store = hosts.folder("one")
    kill_jobs_until_done(pipeline, hosts, chance)
    hosts.stop()
    assert_fan_done_once(pipeline, [hosts.folder(name) for name in HOSTS])


def test_servers_that_go_away_are_waited_for(pipeline: "Pipeline", elsewhere: Elsewhere) -> None:
    """Both are killed under load and started again: what ran is committed, nothing is lost or doubled."""
    lay(pipeline, SOME)
    with (pipeline.folder / "ion.yaml").open("a") as file:
        file.write(elsewhere.sections)
    hosts = Hosts(pipeline)
    hosts.start("one")
    pipeline.store = hosts.folder("one")
    pipeline.ion("--store", str(pipeline.store), "event", "create", "--event-type", "go")
    pipeline.until(lambda: released(pipeline) > 5)
    for server in (elsewhere.database, elsewhere.objects):
        kill(server)
        time.sleep(2.0)  # the dispatcher meets it
        start_again(server)
    kill_jobs_until_done(pipeline, hosts, seeded())
    hosts.stop()
    assert_fan_done_once(pipeline, [pipeline.store])


def assert_fan_done_once(pipeline: "Pipeline", stores: Sequence[Path]) -> None:
    expected = {"cli": 1, "split": 1, "work": SOME, "end": SOME}
    assert Counter((job.module, job.state) for job in pipeline.jobs()) == {
        (module, State.RELEASED): count for module, count in expected.items()
    }
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []
    assert pipeline.do(events_recorded) == {"go": 1, "part": SOME, "done": SOME}
    assert pipeline.do(whole) == SOME
    for store in stores:
        pipeline.store = store
        assert pipeline.processes() == []
        assert [path for path in (store / "work").iterdir() if not path.name.startswith(".")] == []


def kill_jobs_until_done(pipeline: "Pipeline", hosts: Hosts, chance: random.Random) -> None:
    """Some of the jobs wait for that; of the others one ends between two kills, however slow the server is."""

    def one_more() -> bool:
        pipeline.store = hosts.folder(chance.choice(list(hosts.running)))
        kill_a_job(pipeline, chance)
        before = released(pipeline)
        waited(lambda: released(pipeline) > before, 2.0)
        return done(pipeline)

    pipeline.until(one_more, 2 * PATIENCE_S)


def kill(server: Any) -> None:
    """Whatever kind it is; one that keeps in memory what it has acknowledged may write it first."""
    (server.crash if hasattr(server, "crash") else server.stop if hasattr(server, "stop") else server.kill)()


def start_again(server: Any) -> None:
    server.start()
    if hasattr(server, "wait"):
        server.wait()


def released(pipeline: "Pipeline") -> int:
    return sum(job.state is State.RELEASED for job in pipeline.jobs("work"))


def done(pipeline: "Pipeline") -> bool:
    return all(job.state is State.RELEASED for job in pipeline.jobs()) and len(pipeline.jobs("end")) == SOME
