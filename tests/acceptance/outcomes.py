"""How jobs of a pipeline ended and what they left, for tests of modules and machines that behave badly."""

import hashlib
import os
from typing import TYPE_CHECKING

from ion.adapters.blobs.filesystem import LINK_FROM
from ion.dispatcher.manifests import load_manifest
from ion.dispatcher.stores import Stores
from ion.management.audit import Severity
from ion.model.job import FailureClass, Job, State
from ion.model.manifest import Manifest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

ROOT = os.geteuid() == 0
MIB = 2**20

SMALL, LARGE = b"small\n", b"large\n" * (LINK_FROM // 4)
"""Inputs, one that is copied for each module and one that is linked."""


def the_job(jobs: list[Job], module: str) -> Job:
    (job,) = [job for job in jobs if job.module == module]
    return job


def manifest_of(pipeline: "Pipeline", job: Job) -> Manifest:
    assert job.manifest is not None, job.failure
    ref = job.manifest
    return pipeline.do(lambda stores: load_manifest(ref, stores.blobs))


def stored(pipeline: "Pipeline", job: Job) -> dict[str, bytes]:
    """The files that a job left, each with the hash that its manifest says."""
    manifest = manifest_of(pipeline, job)

    async def read(stores: Stores) -> dict[str, bytes]:
        return {file.path: await stores.blobs.get_bytes(file.blob) for file in manifest.files}

    found = pipeline.do(read)
    for file in manifest.files:
        assert hashlib.sha256(found[file.path]).hexdigest() == file.sha256
    return found


def log_of(pipeline: "Pipeline", job: Job) -> bytes:
    return pipeline.do(lambda stores: stores.blobs.get_bytes(job.log or manifest_log(job)))


def manifest_log(job: Job) -> str:
    assert job.manifest is not None
    return job.manifest.log


def assert_nothing_is_left(pipeline: "Pipeline") -> None:
    """No process, no folder of an attempt, no fault."""
    assert pipeline.processes() == []
    assert [path for path in (pipeline.store / "work").iterdir() if not path.name.startswith(".")] == []
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []


def assert_failed(job: Job, kind: FailureClass, words: str) -> None:
    """Dead in this class, with one sentence that has these words."""
    assert job.failure is not None, job.state
    assert (job.state, job.failure.kind) == (State.DEAD, kind), job.failure
    assert words in job.failure.message
    assert job.failure.message.isprintable()
