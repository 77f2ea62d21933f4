"""`kill -9` in mid-run: how long after its next start the process commits a job."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import ION, compiled, folder, line, median, root

from ion.config.load import load_pipeline
from ion.management.events import raise_events
from ion.management.registry import apply_modules
from ion.management.run import jobs_of
from ion.ports.ledger import JobFilter
from ion.wiring import open_store

JOBS, TURNS, SOME = 6000, 5, 50
PATIENCE_S = 30.0
COMMANDS = {"ion run": ("run", "--retries"), "ion up": ("up", "--port", "0")}


async def fill(place: Path, program: Path) -> None:
    """Small jobs that wait, more than all turns do."""
    (place / "ion.yaml").write_text(f"""
ion: 1
machine: {{cpu: 2}}
modules:
  copy: {{command: ["{program}"], on: go, emits: [copied], retries: {{lost: 100, backoff: 10ms}}}}
""")
    item = place / "item"
    item.write_bytes(os.urandom(1024))
    pipeline = load_pipeline(place / "ion.yaml", environ={})
    async with open_store(place / ".ion", pipeline.settings) as stores:
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="bench")
        roots = [root("go", item=item) for _ in range(JOBS)]
        await raise_events(roots, gateway="bench", ledger=stores.ledger, blobs=stores.blobs)


async def commits(place: Path) -> list[float]:
    """When jobs were committed, in seconds since the epoch."""
    async with open_store(place / ".ion") as stores:
        jobs = [job async for job in jobs_of(stores.ledger, JobFilter(module="copy"))]
    return [job.ended_at.timestamp() for job in jobs if job.manifest and job.ended_at]


def first_commit(place: Path, command: tuple[str, ...]) -> float:
    """Seconds from the start of the command to its first commit; it is killed after some more."""
    began = time.time()
    with (place / "output").open("ab") as output:
        process = subprocess.Popen([ION, *command], cwd=place, stdout=output, stderr=output)
    try:
        while True:
            time.sleep(0.5)
            late = [at for at in asyncio.run(commits(place)) if at > began]
            if len(late) >= SOME:
                return min(late) - began
            if process.poll() is not None or time.time() - began > PATIENCE_S:
                sys.exit(f"bench: {' '.join(command)} committed too little: {(place / 'output').read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    for name, command in COMMANDS.items():
        with folder() as place:
            asyncio.run(fill(place, compiled("tiny", place / "tiny")))
            first_commit(place, command)
            took = [first_commit(place, command) for _ in range(TURNS)]
            bare = median([str(ION), "--help"], place)
            line(
                f"{name}, from kill -9 to the next commit",
                f"{statistics.median(took):.3f} s",
                f"{bare:.3f} s",
                f"worst {max(took):.3f} s (goal 2); floor: ion --help",
            )
