"""The memory of `ion up`, at its peak: idle, and with a hundred thousand jobs that wait while it works on them.

By itself it is a dispatcher and the front API; what the management API and the page for Prometheus add, most of it
gRPC's, stands beside it.
"""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import ION, folder, line

from ion.config.load import load_pipeline
from ion.management.registry import apply_modules
from ion.model import ids
from ion.model.event import Event
from ion.model.job import Job, State
from ion.wiring import open_store

MANY, STEP, SOME = 100_000, 1000, 500
PIPELINE = "ion: 1\nmodules: {work: {command: 'true', on: go}}\n"
ALONE = ("--management-port", "off", "--metrics-port", "off")
WITH_API = ("--management-port", "0", "--metrics-port", "0")
BARE = "import asyncio; print(open('/proc/self/status').read())"


def peak(status: str) -> float:
    """MiB of memory that a process had at most, by its /proc/PID/status."""
    (kibibytes,) = (row.split()[1] for row in status.splitlines() if row.startswith("VmHWM"))
    return int(kibibytes) / 1024


def job(flow: str) -> Job:
    event = Event(
        id=ids.new_id(), type="go", source="ion:bench", correlation_id=flow, parent_id="bench", time=datetime.now(UTC)
    )
    return Job(id=ids.job_id(event.id, "work"), module="work", event=event)


async def fill(place: Path) -> str:
    """Lets so many jobs wait; their flow."""
    pipeline = load_pipeline(place / "ion.yaml", environ={})
    flow = ids.new_id()
    async with open_store(place / ".ion", pipeline.settings) as stores:
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="bench")
        for _ in range(0, MANY, STEP):
            await stores.ledger.admit([job(flow) for _ in range(STEP)])
    return flow


async def released(place: Path, flow: str) -> int:
    async with open_store(place / ".ion") as stores:
        return (await stores.ledger.tally(flow)).get(("work", State.RELEASED), 0)


def of_ion(place: Path, flow: str = "", *, options: tuple[str, ...] = ALONE) -> float:
    """MiB that `ion up` had at most, until it had done some jobs of the flow, or had been idle for a while."""
    with (place / "output").open("wb") as output:
        process = subprocess.Popen([ION, "up", "--port", "0", *options], cwd=place, stdout=output, stderr=output)
    try:
        while b"front API" not in (place / "output").read_bytes():
            time.sleep(0.1)
        time.sleep(2)
        while flow and asyncio.run(released(place, flow)) < SOME:
            time.sleep(0.5)
        return peak(Path(f"/proc/{process.pid}/status").read_text())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    bare = peak(subprocess.run([sys.executable, "-c", BARE], check=True, capture_output=True, text=True).stdout)
    with folder() as place:
        (place / "ion.yaml").write_text(PIPELINE)
        idle = of_ion(place)
        line("memory of ion up, idle", f"{idle:.0f} MiB", f"{bare:.0f} MiB", "goal 40; floor: import asyncio")
        served = of_ion(place, options=WITH_API)
        line(
            "  with the management API", f"{served:.0f} MiB", f"{bare:.0f} MiB", "gRPC, cryptography, prometheus-client"
        )
        busy = of_ion(place, asyncio.run(fill(place)))
        line(f"  with {MANY:,} jobs waiting", f"{busy:.0f} MiB", f"{bare:.0f} MiB", "goal 150")
