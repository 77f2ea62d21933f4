"""What this process counts: ended attempts, bytes of files, requests of the API."""

import asyncio
import time
from collections.abc import Iterable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from ion.dispatcher.finish import Progress, Step
from ion.errors import IonError, UnavailableError
from ion.management.telemetry.lives import Life
from ion.model.event import FileRef
from ion.model.job import FailureClass, Job
from ion.model.manifest import Manifest, ManifestRef
from ion.ports.blobs import Blobs

ATTEMPT_S = (0.1, 0.3, 1, 3, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 48 * 3600)
STEP_S = (0.003, 0.01, 0.03, *ATTEMPT_S)
REQUEST_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
ENDS = tuple(step for step in Step if step is not Step.STARTED)
LARGE_MOST = 1000
"""So many manifests are remembered that are too large for their row, until somebody looks."""


class Counts:
    """`registry` is all of it, for the page."""

    def __init__(self) -> None:
        self.since_ns = time.time_ns()
        self.registry = every = CollectorRegistry()
        self._attempts = Counter("ion_attempts", "Attempts that ended, by how.", ("module", "outcome"), registry=every)
        self._failures = Counter("ion_failures", "Attempts that failed.", ("module", "class"), registry=every)
        self._seconds = Histogram(
            "ion_attempt_seconds", "How long committed attempts ran.", ("module",), buckets=ATTEMPT_S, registry=every
        )
        self._steps = Histogram(
            "ion_step_seconds", "How long the steps of attempts took.", ("module", "step"), buckets=STEP_S,
            registry=every,
        )  # fmt: skip
        self._bytes = Counter(
            "ion_transfer_bytes", "Bytes of files: in to modules, out of them.", ("way",), registry=every
        )
        self.requests = Counter("ion_grpc_requests", "Calls of the management API.", ("method", "code"), registry=every)
        self.request_s = Histogram(
            "ion_grpc_request_seconds", "How long they took.", ("method",), buckets=REQUEST_S, registry=every
        )
        self._large: list[ManifestRef] = []

    def know(self, modules: Iterable[str]) -> None:
        """Tells of what has not been counted yet as 0: in a series that begins at 1 nobody sees an increase."""
        for module in modules:
            for step in ENDS:
                self._attempts.labels(module, step.value)
            for kind in FailureClass:
                self._failures.labels(module, kind.value)

    def observe(self, progress: Progress) -> None:
        """Counts a step of an attempt."""
        module = progress.job.module
        if progress.step is Step.STARTED:
            self._count_bytes("in", progress.job.event.files)
            return
        self._attempts.labels(module, progress.step.value).inc()
        if progress.fault is not None:
            self._failures.labels(module, progress.fault.kind.value).inc()
        if progress.manifest is not None:
            self._commit(progress.job, progress.manifest)

    def live(self, life: Life) -> None:
        """Counts how long the steps of an attempt took that is over."""
        if life.root:
            return
        for part, began_s, ended_s in life.parts:
            self._steps.labels(life.job.module, part.value).observe(ended_s - began_s)

    def _commit(self, job: Job, ref: ManifestRef) -> None:
        self._seconds.labels(job.module).observe(max(0.0, (ref.ended_at - ref.started_at).total_seconds()))
        if ref.inline:
            self._count_bytes("out", msgspec.json.decode(ref.inline, type=Manifest).files)
        elif len(self._large) < LARGE_MOST:
            self._large.append(ref)

    def _count_bytes(self, way: str, files: tuple[FileRef, ...]) -> None:
        self._bytes.labels(way).inc(sum(file.size for file in files))

    async def catch_up(self, blobs: Blobs) -> None:
        """Counts what large manifests name, while the store answers. One that is gone or broken is not counted."""
        while self._large:
            ref = self._large.pop()
            try:
                files = msgspec.json.decode(await blobs.get_bytes(ref.blob), type=Manifest).files
            except UnavailableError:  # whoever looks next finds it
                self._large.append(ref)
                return
            except asyncio.CancelledError:
                self._large.append(ref)
                raise
            except (IonError, msgspec.DecodeError):
                continue
            self._count_bytes("out", files)
