"""What is counted in the process, and the page while the ledger is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.deploy.promtool import promtool
from tests.telemetry.lived import BASE_S, committed

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.dispatcher.finish import Progress, Step
from ion.dispatcher.stores import Stores
from ion.errors import UnavailableError
from ion.management.metrics.counts import Counts
from ion.management.metrics.page import page
from ion.management.telemetry.lives import UNSEEN, released_life
from ion.model import ids
from ion.model.event import Event, FileRef
from ion.model.job import Failure, FailureClass, Job
from ion.model.manifest import Manifest, ManifestRef
from ion.model.module import Module, Subscription, revise
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


async def test_bytes_of_large_manifests_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    """They are counted once it answers; one that is broken keeps nobody from seeing the rest."""

    class Away(FilesystemBlobs):
        away = True

        async def get_bytes(self, path: str, *, most: int = 1024) -> bytes:
            if self.away:
                raise UnavailableError("away")
            return await super().get_bytes(path, most=most)

    counts = Counts()
    for name in ("large", "broken"):
        counts.observe(Progress(job=job(), step=Step.COMMITTED, manifest=ref(f"{name}/manifest.json")))
    async with Away(tmp_path / "blobs") as blobs:
        await blobs.put_bytes("large/manifest.json", results(FILES))
        await blobs.put_bytes("broken/manifest.json", b"{")
        told = []
        for Away.away in (True, False, False):
            await counts.catch_up(blobs)
            told.append(values(generate_latest(counts.registry)).get(("ion_transfer_bytes_total", "out"), 0))
    assert told == [0, 30, 30]


async def test_failures_are_counted_by_class(stores: Stores) -> None:
    """Whether the job is tried again or not; what a person ended, or a dispatcher that stops gave back, is none."""
    counts = Counts()
    for step, kind in (
        (Step.FAILED, FailureClass.LOST),
        (Step.DEAD, FailureClass.LOST),
        (Step.DEAD, FailureClass.MEMORY),
        (Step.CANCELLED, FailureClass.LOST),
        (Step.GIVEN_BACK, FailureClass.LOST),
    ):
        counts.observe(Progress(job=job(), step=step, failure=Failure(kind=kind, message="m")))
    told = values(await page(stores, counts))
    assert (told["ion_failures_total", "lost", "detect"], told["ion_failures_total", "memory", "detect"]) == (2, 1)
    assert (told["ion_attempts_total", "detect", "failed"], told["ion_attempts_total", "detect", "dead"]) == (1, 2)


async def test_what_has_not_happened_yet_is_nought(stores: Stores) -> None:
    """The first dead letter of a module is an increase then, of which the alerts of the chart hear."""
    module = Module(name="detect", on=(Subscription(type="photo"),), command=("true",))
    await stores.ledger.apply([revise(module)], "test")
    counts = Counts()
    told = values(await page(stores, counts))
    assert {told["ion_attempts_total", "detect", step.value] for step in Step if step is not Step.STARTED} == {0}
    assert {told["ion_failures_total", kind.value, "detect"] for kind in FailureClass} == {0}
    counts.observe(Progress(job=job(), step=Step.DEAD))
    assert values(await page(stores, counts))["ion_attempts_total", "detect", "dead"] == 1


async def test_the_page_is_as_prometheus_has_it(stores: Stores, tmp_path: Path) -> None:
    """Its own tool finds no fault: types, suffixes, units, and no name twice."""
    module = Module(name="detect", on=(Subscription(type="photo"),), command=("true",))
    await stores.ledger.apply([revise(module)], "test")
    counts = Counts()
    counts.observe(Progress(job=job(), step=Step.STARTED))
    counts.observe(Progress(job=job(), step=Step.COMMITTED, manifest=ref("small", results(FILES))))
    counts.live(released_life(committed(), UNSEEN, BASE_S + 40))
    counts.requests.labels("ion.v1.Jobs/Get", "OK").inc()
    counts.request_s.labels("ion.v1.Jobs/Get").observe(0.1)
    ended = promtool(tmp_path, "check", "metrics", text=(await page(stores, counts)).decode())
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


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
