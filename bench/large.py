"""A file of 1 GiB through three stages that pass it on unchanged: what Ion writes to the disk, how long it takes."""

import asyncio
import os
import time
from pathlib import Path

from bench.measure import PROGRAMS, flow, folder, line, root, served

SIZE = 1 << 30
STAGES = f"""
  one: {{command: [sh, {PROGRAMS}/forward.sh, inputs, b], on: go, emits: b}}
  two: {{command: [sh, {PROGRAMS}/forward.sh, symlink, c], on: b, emits: c}}
  three: {{command: [sh, {PROGRAMS}/forward.sh, hardlink, d], on: c, emits: d}}
"""


def written() -> int:
    """Bytes that this process caused to be sent to the storage layer (proc(5), /proc/PID/io)."""
    for row in Path("/proc/self/io").read_text().splitlines():
        if row.startswith("write_bytes"):
            return int(row.split()[1])
    return 0


async def ion(place: Path, size: int) -> tuple[float, int]:
    """Seconds of the flow, and bytes written to the disk in it, the root's own copy left out."""
    big = place / f"big-{size}"
    with big.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 1 << 26):
            file.seek(at)
            file.write(os.urandom(4096))
    (place / str(size)).mkdir()
    async with served(place / str(size), f"ion: 1\nmodules:{STAGES}") as (stores, _):
        event = root("go", big=big)
        os.sync()
        raised = time.perf_counter()
        before = written()
        seconds = await flow(stores, [event])
        return min(seconds, time.perf_counter() - raised), written() - before


def main() -> None:
    with folder() as place:
        small, _ = asyncio.run(ion(place, 1 << 20))
        seconds, wrote = asyncio.run(ion(place, SIZE))
        line("1 GiB through 3 stages", f"{seconds:.3f} s", f"{small:.3f} s", "floor: the same with 1 MiB")
        line("  written to the disk meanwhile", f"{wrote / 2**20:.2f} MiB", "0 MiB", "goal 1 MiB")
