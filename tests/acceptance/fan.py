"""A fan-out of very small jobs, some of which have to be killed, and what must be true of it at its end."""

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ion.dispatcher.manifests import load_manifest
from ion.dispatcher.stores import Stores
from ion.management.audit import Severity
from ion.management.run import jobs_of
from ion.model.job import State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.ledger import JobFilter, Owner

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

PROGRAMS = Path(__file__).parent / "programs"
PIPELINE = """
ion: 1
name: fan
defaults: {concurrency: 8, retries: {module: 3, timeout: 3, lost: 100, backoff: 10ms, backoff_most: 50ms}}
machine: {cpu: 8}
modules:
  split: {command: [PROGRAM, split, "WIDTH"], on: go, emits: [part]}
  work: {command: [PROGRAM, work], on: part, emits: [done]}
  end: {command: [PROGRAM, end], on: done}
"""
LINES = 500


def lay(pipeline: "Pipeline", width: int) -> None:
    """One job that raises so many events, each of which starts a job that raises one for a third."""
    program = str(pipeline.folder / "fan")
    if shutil.which("cc"):
        subprocess.run(["cc", "-O1", "-o", program, PROGRAMS / "fan.c"], check=True)
    else:
        program = f"sh, {PROGRAMS / 'fan.sh'}"
    pipeline.write(PIPELINE.replace("PROGRAM", program).replace("WIDTH", str(width)))


def kill_a_job(pipeline: "Pipeline", chance: random.Random) -> None:
    """Kills the process group of a running job, if there is one; the first job, which takes longest, seldom."""
    if not (running := pipeline.processes()):
        return
    victim = chance.choice(running)
    with suppress(ProcessLookupError, FileNotFoundError):
        first = b"ION_MODULE=split" in Path(f"/proc/{victim}/environ").read_bytes()
        group = os.getpgid(victim)
        if group != os.getpgid(0) and (not first or chance.random() < 0.1):
            os.killpg(group, signal.SIGKILL)


def beats(pipeline: "Pipeline") -> dict[int, int]:
    """The dispatchers that the ledger takes for alive, by process id, with the number of their last beat."""
    with closing(sqlite3.connect(f"file:{pipeline.store}/ion.db?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT body, beat FROM owners").fetchall()
    return {msgspec.json.decode(body, type=Owner).pid: beat for body, beat in rows}


def assert_all_done_once(pipeline: "Pipeline", width: int, roots: int = 1) -> None:
    """Every job is there once and released, every event recorded once, every file whole, and nothing is left over."""
    expected = {"cli": roots, "split": roots, "work": roots * width, "end": roots * width}
    jobs = pipeline.jobs()
    assert Counter((job.module, job.state) for job in jobs) == {
        (module, State.RELEASED): count for module, count in expected.items()
    }
    assert len({job.event.id for job in jobs if job.module != "cli"}) == roots * (1 + 2 * width)
    assert [finding for finding in pipeline.audit() if finding.severity is Severity.FAULT] == []
    assert pipeline.do(recorded) == {"go": roots, "part": roots * width, "done": roots * width}
    assert pipeline.do(whole) == roots * width
    assert pipeline.processes() == []
    assert [path for path in (pipeline.store / "work").iterdir() if not path.name.startswith(".")] == []


async def recorded(stores: Stores) -> Counter[str]:
    """How many events have a record, by type."""
    found: Counter[str] = Counter()
    async for record in stores.documents.query(RecordFilter(kind=Kind.EVENT_META)):
        found[record.body["type"]] += 1
    return found


async def whole(stores: Stores) -> int:
    """How many copies there are, each exactly what its part was, as its manifest says."""
    found = 0
    async for job in jobs_of(stores.ledger, JobFilter(module="work")):
        assert job.manifest is not None
        (file,) = (await load_manifest(job.manifest, stores.blobs)).files
        content = await stores.blobs.get_bytes(file.blob)
        assert content == f"{job.event.subject}\n".encode() * LINES
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        found += 1
    return found
