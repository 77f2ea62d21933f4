"""A chain of five modules: twenty items at once, and the latency of a hop for one item alone."""

import asyncio
import os
import statistics
import subprocess
import time
from pathlib import Path

from bench.measure import compiled, flow, folder, line, root, served

STAGES, ITEMS, TURNS = 5, 20, 51


def text(program: Path) -> str:
    modules = "\n".join(
        f'  s{n}: {{command: ["{program}"], on: {"go" if n == 0 else f"copied{n - 1}"}, emits: [copied{n}], '
        f"env: {{RAISES: copied{n}}}}}"
        for n in range(STAGES)
    )
    return f"ion: 1\nmachine: {{cpu: 2}}\nmodules:\n{modules}\n"


def bare(place: Path, program: Path) -> float:
    """Median seconds of the program alone, started and awaited by Python."""
    directory = place / "bare"
    for name in ("in/data", "out/data", "out/events"):
        (directory / name).mkdir(parents=True)
    (directory / "in/data/item").write_bytes(os.urandom(1024))
    took = []
    for _ in range(50):
        began = time.perf_counter()
        subprocess.run([str(program), str(directory)], check=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def ion(place: Path, program: Path) -> tuple[float, float]:
    """Seconds for all items at once, and the median of one alone."""
    item = place / "item"
    item.write_bytes(os.urandom(1024))
    async with served(place, text(program)) as (stores, _):
        await flow(stores, [root("go", item=item)])  # the first warms up
        alone = [await flow(stores, [root("go", item=item)]) for _ in range(TURNS)]
        return await flow(stores, [root("go", item=item) for _ in range(ITEMS)]), statistics.median(alone)


def main() -> None:
    with folder() as place:
        program = compiled("tiny", place / "tiny")
        alone = bare(place, program)
        together, one = asyncio.run(ion(place, program))
        line(
            f"{ITEMS} items through {STAGES} stages",
            f"{together:.3f} s",
            f"{alone * ITEMS * STAGES / 2:.3f} s",
            "goal 0.5",
        )
        hop = (one / STAGES - alone) * 1000
        line(
            "one item, each hop",
            f"{one / STAGES * 1000:.2f} ms",
            f"{alone * 1000:.2f} ms",
            f"above it {hop:.2f} ms (goal 2)",
        )
