"""What is counted in the process, and the page while the ledger is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ion.dispatcher.finish import Progress, Step
from ion.dispatcher.service import Stores
from ion.management.metrics.counts import Counts
from ion.management.metrics.page import page
from ion.model import ids
from ion.model.event import Event, FileRef
from ion.model.job import Failure, FailureClass, Job
from ion.model.manifest import Manifest, ManifestRef
from ion.wiring import open_store

AT = datetime(2026, 1, 1, tzinfo=UTC)
FILES = tuple(FileRef(path=f"{n}", blob=f"b/{n}", size=10, sha256="0" * 64) for n in range(3))


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    async with open_store(tmp_path / "store") as stores:
        yield stores


def job() -> Job:
    event = Event(
        id=ids.new_id(), type="photo", source="s", correlation_id="f", parent_id="p", time=AT, files=FILES[:1]
    )
    return Job(id=ids.new_id(), module="detect", event=event)


def results(files: tuple[FileRef, ...]) -> bytes:
    manifest = Manifest(
        job="j", attempt=1, execution="x", module="detect", event_id="e", correlation_id="f", parent_event_id="p",
        started_at=AT, ended_at=AT, files=files,
    )  # fmt: skip
    return msgspec.json.encode(manifest)


def ref(blob: str, inline: bytes = b"") -> ManifestRef:
    return ManifestRef(
        blob=blob, sha256="", execution="x", inline=inline.decode(), started_at=AT, ended_at=AT + timedelta(seconds=7)
    )


def values(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_bytes_of_large_manifests_are_counted_when_somebody_looks(stores: Stores) -> None:
    """They are not in the row; one that is gone by then counts nothing, and none counts twice."""
    counts = Counts()
    await stores.blobs.put_bytes("large/manifest.json", results(FILES))
    for one in (ref("small", results(FILES[:2])), ref("large/manifest.json"), ref("gone/manifest.json")):
        counts.observe(Progress(job=job(), step=Step.STARTED))
        counts.observe(Progress(job=job(), step=Step.COMMITTED, manifest=one))
    for _ in range(2):
        told = values(await page(stores, counts))
        assert (told["ion_transfer_bytes_total", "in"], told["ion_transfer_bytes_total", "out"]) == (30, 50)
    assert told["ion_attempts_total", "detect", "committed"] == 3
    assert told["ion_attempt_seconds_sum", "detect"] == 21


async def test_failures_are_counted_by_class(stores: Stores) -> None:
    """Whether the job is tried again or not."""
    counts = Counts()
    for step, kind in (
        (Step.FAILED, FailureClass.LOST),
        (Step.DEAD, FailureClass.LOST),
        (Step.DEAD, FailureClass.MEMORY),
    ):
        counts.observe(Progress(job=job(), step=step, failure=Failure(kind=kind, message="m")))
    told = values(await page(stores, counts))
    assert (told["ion_failures_total", "lost", "detect"], told["ion_failures_total", "memory", "detect"]) == (2, 1)
    assert (told["ion_attempts_total", "detect", "failed"], told["ion_attempts_total", "detect", "dead"]) == (1, 2)


async def test_while_the_ledger_is_away_the_page_says_so(tmp_path: Path) -> None:
    """With what was counted, and without figures that would be guesses."""
    async with open_store(tmp_path / "store") as stores:
        pass
    counts = Counts()
    counts.observe(Progress(job=job(), step=Step.DEAD))
    told = values(await page(stores, counts))
    assert told["ion_ledger_up",] == 0
    assert told["ion_attempts_total", "detect", "dead"] == 1
    assert ("ion_dispatchers",) not in told
