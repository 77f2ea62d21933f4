"""Finding, why, insights, the overview and the doctor on stores that are on servers."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from tests.acceptance.store_servers import Elsewhere
from tests.cli.conftest import MODULES, Bench

from ion.config.load import load_pipeline
from ion.management.verbs.findings import KeyValue
from ion.management.verbs.server import Grade
from ion.model.job import State
from ion.wiring import open_management, open_store

OUT = {
    "data/boxed.jpg": "a cat in a box",
    "insights.json": '{"faces": 2}',
    "events/face.json": '{"type": "face", "files": ["boxed.jpg"]}',
}
PIPELINE = 'ion: 1\nmodules: {m: {command: ["true"], on: [nothing]}}\n'


@pytest.fixture
def bench(tmp_path: Path, elsewhere: Elsewhere) -> Bench:
    """`detect` found two faces, `count` waits, in a database and an object store."""
    bench, file = Bench(tmp_path), tmp_path / "ion.yaml"
    file.write_text(PIPELINE + elsewhere.sections)

    async def make() -> None:
        async with open_store(bench.store, load_pipeline(file, environ=os.environ).settings):
            pass

    asyncio.run(make())
    bench.apply(*MODULES)
    bench.photo("album", subject="cat.jpg")
    bench.succeed("detect", out=OUT)
    return bench


def test_what_is_found_does_not_depend_on_the_store(bench: Bench) -> None:
    """By subject, hash and insight, in the order of admission; the chain and the rows are whole."""
    cat = hashlib.sha256(b"a cat").hexdigest()

    async def work() -> None:
        async with open_management(bench.store) as management:
            findings = management.findings
            jobs = [one.job.module async for one in findings.find(subject="cat*", flow="alb")]
            assert jobs == ["cli", "detect", "count"]
            assert [(one.job.module, one.by) async for one in findings.find(sha256=cat)] == [
                ("cli", "out"),
                ("detect", "in"),
            ]
            wanted = (KeyValue(key="faces", value="2"),)
            (found,) = [one async for one in findings.find(insights=wanted)]
            assert [one.job.module for one in await findings.why(job=found.job.id)] == ["detect", "cli"]
            assert [(row.key, row.value, row.typed) async for row in findings.insights()] == [("faces", "2", "2")]

    asyncio.run(work())


def test_the_overview_and_the_doctor_look_at_servers(bench: Bench) -> None:
    """Each port answers; the job that waits has nobody to do it."""

    async def work() -> None:
        async with open_management(bench.store) as management:
            overview = await management.server.overview()
            assert [one.jobs for one in overview.modules] == [{State.WAITING: 1}, {}]
            assert (overview.open, overview.dead, overview.dispatchers) == (1, 0, ())
            symptoms = {one.about: one.grade async for one in management.server.doctor()}
            for port in ("ledger", "documents", "bus", "blobs", "clocks"):
                assert symptoms[port] is Grade.FINE
            assert symptoms["dispatchers"] is Grade.FAULT
            info = await management.server.info()
            assert info.ledger == info.documents
            assert (info.ledger, info.bus, info.blobs) in {
                ("postgres", "none", "object store"),
                ("mongodb", "none", "object store"),
            }

    asyncio.run(work())
