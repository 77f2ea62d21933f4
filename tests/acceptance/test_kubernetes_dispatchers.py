"""R1, R2, R3, R7 where jobs are pods: dispatchers are killed while these run, and their jobs never notice.

`ion up` as it is used, with its ledger in PostgreSQL and its blobs in S3; the last module runs on this host.
"""

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.conftest import PATIENCE_S
from tests.acceptance.store_servers import postgres
from tests.cluster.attempts import SHELL, load_shell
from tests.cluster.borrowed import borrowed
from tests.cluster.cluster import Cluster, cluster
from tests.stores.postgres_server import PostgresServer
from tests.stores.seaweed import ROLE, Seaweed

from ion.management.audit import Severity
from ion.model.job import Job, State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

__all__ = ["cluster", "postgres"]

WIDTH, LINES = 4, 12
GATE = "/gate"
SPLIT = f"""
for n in $(seq 1 {WIDTH}); do echo "$n" > "$ION_DIR/out/data/$n.txt"
printf '{{"type": "part", "files": ["%s.txt"], "subject": "%s"}}' "$n" "$n" > "$ION_DIR/out/events/$n.json"; done
"""
WORK = f"""
i=0; while [ "$i" -lt {LINES} ]; do
  [ "$i" != {LINES // 2} ] || while [ ! -e {GATE}/go ]; do sleep 0.1; done
  echo "line $i"; i=$((i+1))
done
cat "$ION_DIR"/in/data/* > "$ION_DIR/out/data/copy.txt"
printf '{{"type": "done", "files": ["copy.txt"]}}' > "$ION_DIR/out/events/done.json"
"""
SECRET = "ION_BLOBS_SECRET_ACCESS_KEY"


class Ions:
    """Folders of Ions in one namespace, each with a process that serves it; they share a ledger if they are told to."""

    def __init__(self, pipeline: "Pipeline", cluster: Cluster, namespace: str, sections: str) -> None:
        self.pipeline, self._cluster, self.namespace = pipeline, cluster, namespace
        self._sections = sections
        self._gate = pipeline.folder / "gate"
        self._gate.mkdir()
        self.serving: dict[str, subprocess.Popen[bytes]] = {}

    def write(self, **kubernetes: str) -> None:
        """The pipeline file of the folder; what is JSON is YAML as well."""
        settings = {
            "namespace": self.namespace,
            "kubeconfig": str(self._cluster.kubeconfig),
            "handlerImage": SHELL,
            "hostNetwork": True,
            "podTemplate": borrowed(),
            **kubernetes,
        }
        in_pods = {"image": SHELL, "provider": "kubernetes", "concurrency": WIDTH}
        seen = {
            "volumes": [{"name": "gate", "hostPath": {"path": str(self._gate)}}],
            "volumeMounts": [{"name": "gate", "mountPath": GATE}],
        }
        work = ["sh", "-c", _kept(WORK)]
        modules = {
            "split": {**in_pods, "command": ["sh", "-c", _kept(SPLIT)], "on": "go", "emits": ["part"]},
            "work": {**in_pods, "command": work, "on": "part", "emits": ["done"], "kubernetes": seen},
            "end": {"command": ["sh", "-c", 'cat "$ION_DIR"/in/data/* >> TRACES'.replace("$", "$$")], "on": "done"},
        }
        named = f"\nname: grow\nkubernetes: {json.dumps(settings)}\nmodules: {json.dumps(modules)}\n"
        self.pipeline.write(f"ion: 1{named}{self._sections}")

    def start(self, name: str, *, impatient: bool = False) -> None:
        """By `ion up`; an impatient one thinks sooner that others are dead, or that something was left behind."""
        store, says = self.pipeline.folder / name, "open\n" if impatient else "front API: "
        said = self.pipeline.folder / "output"
        before = said.read_text().count(says) if said.exists() else 0
        if impatient:
            self.serving[name] = self.pipeline.start_program("short_lease.py", str(store))
        else:
            ports = ("--port", "0", "--management-port", "off", "--metrics-port", "off")
            self.serving[name] = self.pipeline.start("--store", str(store), "up", *ports, "--stop-grace", "5")
        self.pipeline.store = store
        self.pipeline.until(lambda: said.read_text().count(says) > before)

    def kill(self, name: str) -> None:
        process = self.serving.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.serving.values():
            process.send_signal(signal.SIGTERM)
        for process in self.serving.values():
            assert process.wait(PATIENCE_S) == 0, (self.pipeline.folder / "output").read_text()[-3000:]

    def raise_one(self) -> None:
        self.pipeline.ion("--store", str(self.pipeline.store), "event", "create", "--event-type", "go")

    def go(self) -> None:
        """Lets the modules of `work` end, which wait for this in the middle of their logs."""
        (self._gate / "go").touch()

    def running(self) -> set[str]:
        """The jobs of `work` whose pods run their module."""
        which = ("get", "pods", "-n", self.namespace, "-l", "ion.dev/module=work", "-o", "json")
        pods = json.loads(self._cluster.kubectl(*which))["items"]
        return {
            pod["metadata"]["labels"]["ion.dev/job"]
            for pod in pods
            if any("running" in one["state"] for one in pod["status"].get("initContainerStatuses", ())[1:2])
        }

    def left(self) -> str:
        return self._cluster.kubectl("get", "jobs,secrets", "-n", self.namespace, "-l", "ion.dev/job", "-o", "name")

    def is_done(self, roots: int) -> bool:
        jobs = self.pipeline.jobs()
        ends = sum(job.module == "end" for job in jobs)
        return ends == roots * WIDTH and all(job.state is State.RELEASED for job in jobs)

    def assert_done_once(self, begun: set[str], roots: int = 1) -> None:
        """Each job's results are there once, and its log is whole.

        What had `begun` when a dispatcher was killed had one attempt.
        """
        jobs = self.pipeline.jobs()
        expected = {"cli": roots, "split": roots, "work": roots * WIDTH, "end": roots * WIDTH}
        assert Counter((job.module, job.state) for job in jobs) == {
            (module, State.RELEASED): count for module, count in expected.items()
        }
        assert [job.history for job in jobs if job.id in begun and job.attempt != 1] == []
        for job in jobs:
            if job.module == "work":
                self._assert_logged_once(job)
        assert sorted(self.pipeline.traced()) == sorted([str(n) for n in range(1, WIDTH + 1)] * roots)
        assert [finding for finding in self.pipeline.audit() if finding.severity is Severity.FAULT] == []

    def until_cleared(self) -> None:
        """Until nothing is left in the cluster."""
        self.pipeline.until(lambda: self.left() == "")

    def _assert_logged_once(self, job: Job) -> None:
        logged = self.pipeline.ion("--store", str(self.pipeline.store), "job", "logs", job.id).splitlines()
        assert [line.partition("Z ")[2] for line in logged] == [f"line {number}" for number in range(LINES)]


def _kept(script: str) -> str:
    """With dollars that the pipeline file leaves alone."""
    return script.replace("$", "$$")


@pytest.fixture
def ions(
    pipeline: "Pipeline",
    cluster: Cluster,
    postgres: PostgresServer,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ions]:
    load_shell(cluster)
    ledger, blobs = postgres.settings(), seaweed.fresh(f"k-{uuid.uuid4().hex}")
    monkeypatch.setenv(SECRET, blobs.secret_access_key)
    sections = f"""
ledger: {{kind: postgres, port: {ledger.port}, database: {ledger.database}, user: {ledger.user},
  schema: {ledger.schema}}}
blobs: {{kind: s3, url: "{blobs.url}", endpoint: "{blobs.endpoint}", access_key_id: {blobs.access_key_id},
  secret_access_key: "${{{SECRET}}}", role: "{ROLE}", allow_http: true}}
"""
    with cluster.namespace() as namespace:
        yield Ions(pipeline, cluster, namespace, sections)


def test_a_dispatcher_that_was_killed_goes_on_with_its_pods(ions: Ions) -> None:
    """It is started again while they run: each job has one attempt, and its log is whole."""
    ions.write()
    ions.start("here")
    ions.raise_one()
    ions.pipeline.until(lambda: len(ions.running()) == WIDTH)
    begun = ions.running()
    ions.kill("here")
    ions.start("here")
    ions.go()
    ions.pipeline.until(lambda: ions.is_done(1))
    ions.until_cleared()
    ions.stop()
    ions.assert_done_once(begun)


def test_pods_that_ended_while_nobody_was_there_are_committed_by_the_next(ions: Ions) -> None:
    """Their Jobs are there for a day, their logs as well."""
    ions.write()
    ions.start("here")
    ions.raise_one()
    ions.pipeline.until(lambda: len(ions.running()) == WIDTH)
    begun = ions.running()
    ions.kill("here")
    ions.go()
    ions.pipeline.until(lambda: not ions.running())
    ions.start("here")
    ions.pipeline.until(lambda: ions.is_done(1))
    ions.until_cleared()
    ions.stop()
    ions.assert_done_once(begun)


def test_another_dispatcher_goes_on_with_the_pods_of_one_that_was_killed(ions: Ions) -> None:
    """It is on another host, knows the dead one by its lease alone, and clears nothing away that it should not."""
    ions.write()
    ions.start("one")
    ions.start("two")
    ions.raise_one()
    ions.raise_one()
    ions.pipeline.until(lambda: len(ions.running()) >= WIDTH)
    begun = ions.running()
    ions.kill("one")
    ions.go()
    ions.pipeline.until(lambda: ions.is_done(2))
    ions.until_cleared()
    ions.stop()
    ions.assert_done_once(begun, 2)


def test_dispatchers_killed_at_random_lose_and_double_nothing(ions: Ions) -> None:
    """At any step of a job's life: while it is made, runs, ends, is cleared away.

    One that was claimed, but had no Job yet, is another attempt.
    """
    seed = int(os.environ.get("ION_TEST_SEED") or random.randrange(10_000))
    print(f"ION_TEST_SEED={seed}")
    chance = random.Random(seed)
    ions.write()
    ions.start("here", impatient=True)
    ions.raise_one()
    for number in range(6):
        if number == 3:
            ions.go()
        time.sleep(chance.uniform(0.0, 4.0))  # a random point is the point
        ions.kill("here")
        ions.start("here", impatient=True)
    ions.pipeline.until(lambda: ions.is_done(1))
    ions.until_cleared()
    ions.stop()
    ions.assert_done_once(set())
