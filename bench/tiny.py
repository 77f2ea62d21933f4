"""A thousand tiny jobs, two at a time: what Ion adds to each, beside the same programs started by `xargs -P2`."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

from bench.measure import compiled, flow, folder, line, root, served

JOBS = 1000
AT_ONCE = 2


def floor(place: Path, program: Path) -> float:
    """Seconds for the programs alone, each in a directory that is ready, by xargs."""
    for number in range(JOBS):
        for name in ("in/data", "out/data", "out/events"):
            (place / "floor" / str(number) / name).mkdir(parents=True)
        (place / "floor" / str(number) / "in/data/item").write_bytes(os.urandom(1024))
    names = "\n".join(f"{place}/floor/{number}" for number in range(JOBS))
    began = time.perf_counter()
    subprocess.run(["xargs", f"-P{AT_ONCE}", "-n1", str(program)], input=names, text=True, check=True)
    return time.perf_counter() - began


async def ion(place: Path, program: Path, more: str = "") -> float:
    item = place / "item"
    item.write_bytes(os.urandom(1024))
    text = f"""
ion: 1
machine: {{cpu: {AT_ONCE}}}
{more}
modules:
  copy: {{command: ["{program}"], on: go, emits: [copied], concurrency: {AT_ONCE}}}
"""
    async with served(place, text) as (stores, _):
        return await flow(stores, [root("go", item=item) for _ in range(JOBS)])


def main() -> None:
    with folder() as place:
        program = compiled("tiny", place / "tiny")
        alone = floor(place, program)
        took = asyncio.run(ion(place, program))
        per_job, bare = took / JOBS * 1000, alone / JOBS * 1000
        line("tiny jobs, each", f"{per_job:.2f} ms", f"{bare:.2f} ms", f"above it {per_job - bare:.2f} ms (goal 0.8)")
