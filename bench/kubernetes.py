"""Jobs on a real cluster, beside the very same pods as bare Jobs that kubectl makes; and how soon the ledger knows.

The cluster and the S3 store are this machine's own, of the tests. Bare Jobs have the same three containers as Ion's,
with assignments of their own, so their handlers do the same work. They take from kubectl's start until a watch sees the
last pod end; Ion's take from the events' admission until the flow is quiet: all results are released. The same watch
tells when Ion's pods ended, and the dispatcher when the ledger's row had changed.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec
from bench.measure import flow, folder, line, root, served
from tests.cluster import running
from tests.cluster.attempts import Place, on_cluster
from tests.cluster.cluster import Cluster
from tests.stores.seaweed import Seaweed

from ion.adapters.executors.kubernetes.client import Document, Kubernetes
from ion.adapters.executors.kubernetes.making import Making
from ion.config.pipeline import Pipeline
from ion.dispatcher.finish import Progress, Step
from ion.dispatcher.stores import Stores
from ion.model import ids
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.model.module import revise
from ion.ports.executor import Assignment
from ion.wiring.cluster import credential

COUNTS = tuple(int(count) for count in os.environ.get("ION_BENCH_JOBS", "1,20,100").split(","))
TURNS = 5
"""So often one job alone is run, for the median."""
COMMAND = ["sh", "-c", 'echo out > "$ION_DIR/out/data/a.txt"; echo said']
WITHIN_S = 900.0


class Ends:
    """When the pods of a namespace ended, in seconds since the epoch, by their job's id: as a plain watch sees it."""

    def __init__(self, namespace: str) -> None:
        self.at_s: dict[str, float] = {}
        self.failed: list[str] = []
        columns = r"{.metadata.labels.ion\.dev/job} {.status.phase}"
        words = ["get", "pods", "-n", namespace, "--watch", "-o", f'jsonpath={columns}{{"\\n"}}']
        command = ["kubectl", f"--kubeconfig={running.kubeconfig()}", *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, jobs: Sequence[str]) -> float:
        """When the last of them had ended."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.failed or all(job in self.at_s for job in jobs), WITHIN_S):
                sys.exit(f"bench: the pods of {sum(job not in self.at_s for job in jobs)} jobs do not end")
        if self.failed:
            sys.exit(f"bench: the pod of job {self.failed[0]} failed")
        return max(self.at_s[job] for job in jobs)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            now_s, (job, _, phase) = time.time(), text.strip().partition(" ")
            with self._changed:
                if phase == "Succeeded":
                    self.at_s.setdefault(job, now_s)
                elif phase == "Failed":
                    self.failed.append(job)
                self._changed.notify_all()


class Known:
    """When the ledger's rows of jobs had changed to `committed`, in seconds since the epoch."""

    def __init__(self) -> None:
        self.at_s: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.step is Step.COMMITTED:
            self.at_s[progress.job.id] = time.time()


def pipeline(place: Place) -> str:
    """The pipeline file; what is JSON is YAML as well."""
    settings, store = place.kubernetes, place.store
    return json.dumps(
        {
            "ion": 1,
            "name": "",
            "kubernetes": {
                "namespace": settings.namespace,
                "kubeconfig": settings.kubeconfig,
                "handlerImage": settings.handler_image,
                "hostNetwork": True,
                "podTemplate": settings.pod_template,
            },
            "blobs": {
                "kind": "s3",
                "url": store.url,
                "endpoint": store.endpoint,
                "access_key_id": store.access_key_id,
                "secret_access_key": store.secret_access_key,
                "role": store.role,
                "allow_http": True,
            },
            "modules": {
                "work": {
                    "image": settings.handler_image,
                    "command": COMMAND,
                    "on": "go",
                    "provider": "kubernetes",
                    "concurrency": max(COUNTS),
                }
            },
        }
    )


async def bare_jobs(count: int, stores: Stores, loaded: Pipeline) -> tuple[list[str], str]:
    """Bare Jobs and their Secrets, as a document for kubectl; their ids come with it."""
    settings = loaded.settings.cluster
    making = Making(Kubernetes(), settings.namespace, settings, "bench")
    (module,) = loaded.modules
    items: list[Document] = []
    names: list[str] = []
    for _ in range(count):
        name = ids.new_id()
        event = Event(
            id=ids.new_id(), type="go", source="ion:bench", correlation_id=name, parent_id="bench", time=utc_now()
        )
        job = Job(id=name, module=module.name, event=event, attempt=1)
        work = Assignment(job=job, revision=revise(module, ""))
        items += making.documents(work, await credential(stores, loaded.settings.blobs, work))
        names.append(name)
    items.sort(key=lambda one: str(one["kind"]), reverse=True)  # the Secrets first
    return names, msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": items}).decode()


async def bare(count: int, stores: Stores, loaded: Pipeline, ends: Ends) -> float:
    """Seconds that bare Jobs take."""
    names, document = await bare_jobs(count, stores, loaded)
    began_s = time.time()
    await asyncio.to_thread(running.kubectl, "create", "-f", "-", stdin=document)
    took_s = await asyncio.to_thread(ends.wait, names) - began_s
    await asyncio.to_thread(clear, loaded.settings.cluster.namespace)
    return took_s


def clear(namespace: str) -> None:
    """Deletes all Jobs, and waits until their pods are gone."""
    running.kubectl("delete", "jobs,secrets", "-n", namespace, "-l", "ion.dev/job")
    running.kubectl("wait", "pods", "-n", namespace, "--all", "--for=delete", "--timeout=300s")


async def measured(place: Path, text: str) -> None:
    known = Known()
    async with served(place, text, known) as (stores, loaded):
        with Ends(loaded.settings.cluster.namespace) as ends:
            await flow(stores, [root("go")])  # the first warms up
            late_s: list[float] = []
            for count in COUNTS:
                known.at_s.clear()
                turns = TURNS if count == 1 else 1
                floors = [await bare(count, stores, loaded, ends) for _ in range(turns)]
                ours = [await flow(stores, [root("go") for _ in range(count)]) for _ in range(turns)]
                show(count, statistics.median(ours), statistics.median(floors))
                ends.wait(list(known.at_s))
                late_s += (at_s - ends.at_s[job] for job, at_s in known.at_s.items() if job in ends.at_s)
            best = statistics.median(late_s)
            worst = statistics.quantiles(late_s, n=20)[-1]
            line("  from a pod's end to the ledger", f"{best * 1000:.0f} ms", "-", f"p95 {worst * 1000:.0f} (goal 200)")


def show(count: int, ours_s: float, floor_s: float) -> None:
    what = f"{count} on Kubernetes"
    line(f"{what}, from event to result", f"{ours_s:.2f} s", f"{floor_s:.2f} s", f"{ours_s / floor_s:.2f} (goal 1.15)")
    line("  jobs a minute", f"{count / ours_s * 60:.0f}", f"{count / floor_s * 60:.0f}")


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """The one that runs, or one for this benchmark."""
    if why := running.missing():
        sys.exit(f"bench: no cluster: {why}")
    began = running.up()
    try:
        yield Cluster()
    finally:
        if began:
            running.down()


def main() -> None:
    with (
        folder() as place,
        Seaweed(place / "seaweed") as store,
        cluster() as here,
        on_cluster(here, store, place) as where,
    ):
        asyncio.run(measured(place, pipeline(where)))
