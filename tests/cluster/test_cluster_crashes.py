"""R1, R2, R3 on a cluster: dispatchers, jobs, a module's program, the management process, the API server and the
kubelet die, the node is drained, and the ledger is audited.
"""

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
from tests.cluster import runtime
from tests.cluster.busybox import BUSYBOX
from tests.cluster.installed import TOKEN, Installed
from tests.waiting import waited

pytestmark = [
    pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="disturbs other workers: `make test` runs it last"),
]

WIDTH = 8
ROUNDS = 12
PIPELINE = f"""
ion: 1
name: fan
defaults:
  image: {BUSYBOX}
  provider: kubernetes
  concurrency: 6
  retries: {{module: 3, lost: 50, backoff: 100ms, backoff_most: 1s}}
modules:
  split:
    command: [sh, -c, 'for i in $(seq {WIDTH}); do echo $i > $ION_DIR/out/data/$i.txt;
      echo "{{\\"type\\": \\"part\\", \\"files\\": [\\"$i.txt\\"]}}" > $ION_DIR/out/events/$i.json; done']
    on: go
    emits: part
  work:
    command: [sh, -c, 'sleep 5; cat $ION_DIR/in/data/*.txt > $ION_DIR/out/data/copy.txt;
      echo "{{\\"seen\\": 1}}" > $ION_DIR/out/insights.json;
      echo "{{\\"type\\": \\"done\\", \\"files\\": [\\"copy.txt\\"]}}" > $ION_DIR/out/events/done.json']
    on: part
    emits: done
  end:
    command: [sh, -c, 'cat $ION_DIR/in/data/copy.txt']
    on: done
"""


DISPATCHER, MANAGEMENT = (f"app.kubernetes.io/component={name}" for name in ("dispatcher", "management"))
JOB = "job-name"


class Chaos:
    """What may befall a cluster, one thing at a time. A seed makes the choices again."""

    def __init__(self, release: Installed, seed: int) -> None:
        self._release, self._random = release, random.Random(seed)
        self.done: Counter[str] = Counter()

    def strike(self) -> str:
        """One of the processes is killed; says which."""
        which = self._random.choice((DISPATCHER, MANAGEMENT, JOB, JOB))
        self._kill(which)
        return which

    def restart(self, program: str) -> None:
        self._release.cluster.restart(program)
        self.done[program] += 1

    def drain(self) -> None:
        """All pods leave the node, as before its machine is serviced; then it takes new ones again."""
        kubectl = self._release.cluster.kubectl
        (node,) = kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
        try:
            kubectl("drain", node, "--force", "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=300s")
        finally:
            kubectl("uncordon", node)
        self.done["drain"] += 1

    def kill_program(self) -> str:
        """That of a module which runs, as somebody on its node could; gives its pod, once that is gone."""
        namespace, killed = self._release.namespace, list[str]()

        def done() -> bool:
            for container, pod in runtime.containers(namespace, "module").items():
                if runtime.kill(container):
                    killed.append(pod)
                    return True
            return False

        assert waited(done, 300.0)
        assert waited(lambda: not self._release.cluster.succeeds("-n", namespace, "get", "pod", killed[0]), 300.0)
        self.done["program"] += 1
        return killed[0]

    def _kill(self, which: str) -> None:
        """One pod, at once: its processes get a SIGKILL."""
        if pods := self._pods(which):
            self._release.kubectl("delete", "pod", self._random.choice(pods), "--grace-period=0", "--force")
            self.done[which] += 1

    def _pods(self, which: str) -> list[str]:
        found = json.loads(self._release.kubectl("get", "pods", "-l", which, "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] in ("Pending", "Running")]


def persistently(work: Callable[[], str]) -> str:
    """What it gives once whatever it needs is there again."""
    said: list[str] = []
    refused: list[str] = []

    def done() -> bool:
        try:
            said.append(work())
        except subprocess.CalledProcessError as error:
            refused.append(f"{error.stdout}{error.stderr}")
            return False
        return True

    assert waited(done, 300.0), refused[-1]
    return said[0]


@pytest.fixture
def ready(installed: Installed) -> Installed:
    installed.wait("management", "gateway", "dispatcher")
    return installed


@pytest.fixture
def front(ready: Installed) -> str:
    (ready.folder / "fan.yaml").write_text(PIPELINE)
    ready.ion("apply", "fan.yaml")
    return f"{ready.front}/events/go"


def test_whatever_dies_nothing_is_lost_and_nothing_doubled(ready: Installed, front: str) -> None:
    """A fan-out and all that comes of it, while a part of the cluster dies every other second."""
    seed = int(os.environ.get("ION_SEED", random.randrange(1_000_000)))
    print(f"ION_SEED={seed}")
    answer = httpx.post(
        front, headers={"Authorization": f"Bearer {TOKEN}"}, files={"width": (None, str(WIDTH))}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    flow = answer.json()["context"]["correlationId"]
    chaos = Chaos(ready, seed)
    killed = chaos.kill_program()
    for number in range(ROUNDS):
        time.sleep(2.0)
        if number == ROUNDS // 4:
            chaos.restart("kube-apiserver")
        elif number == ROUNDS // 2:
            chaos.drain()
        elif number == 3 * ROUNDS // 4:
            chaos.restart("kubelet")
        else:
            persistently(chaos.strike)
    print(chaos.done)
    persistently(lambda: ready.ion("flow", "wait", flow, "--timeout", "4m"))
    jobs = json.loads(persistently(lambda: ready.ion("job", "list", "-c", flow, "--limit", "1000", "--json")))
    print(Counter(job["attempt"] for job in jobs))
    (failed,) = (job for job in jobs if killed.startswith(f"ion-{job['id']}-1-"))
    assert failed["attempt"] > 1
    assert Counter((job["module"], job["state"]) for job in jobs) == {
        ("frontapi", "released"): 1,
        ("split", "released"): 1,
        ("work", "released"): WIDTH,
        ("end", "released"): WIDTH,
    }
    records = json.loads(persistently(lambda: ready.ion("trace", "flow", "-c", flow)))
    kinds = Counter((one["context"]["documentType"], one.get("type", "")) for one in records)
    assert kinds["insight", ""] == WIDTH
    persistently(lambda: ready.ion("audit"))
    assert waited(lambda: ready.kubectl("get", "jobs", "-o", "name") == "", 300.0)
