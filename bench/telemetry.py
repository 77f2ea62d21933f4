"""What telemetry costs a hop: a chain without it, with a collector, and with one that is away, turn by turn."""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from bench.chain import STAGES, text
from bench.measure import PROGRAMS, compiled, flow, folder, line, root, served

from ion.dispatcher.stores import Stores

TURNS, ITEMS, BURSTS = 51, 20, 15
SETTLE_S = 0.5
"""What one tells of its burst is not to be in the way of the next one's."""
AWAY = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@contextmanager
def sink() -> Iterator[str]:
    """A collector in a process of its own."""
    with subprocess.Popen([sys.executable, str(PROGRAMS / "sink.py")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Kind:
    """One of those that are compared, and what it took."""

    def __init__(self, name: str, stores: Stores) -> None:
        self.name, self.stores = name, stores
        self.hops: list[float] = []
        self.bursts: list[float] = []
        self.cpu_s = 0.0

    async def turn(self, item: Path, count: int) -> float:
        began_s = time.process_time()
        took = await flow(self.stores, [root("go", item=item) for _ in range(count)])
        self.cpu_s += time.process_time() - began_s
        return took


async def compare(place: Path, program: Path, kinds: Mapping[str, Mapping[str, str]]) -> list[Kind]:
    item = place / "item"
    item.write_bytes(os.urandom(1024))
    async with AsyncExitStack() as stack:
        made = []
        for number, (name, variables) in enumerate(kinds.items()):
            ours = place / str(number)
            ours.mkdir()
            environ = {**os.environ, **variables} if variables else {}
            stores, _ = await stack.enter_async_context(served(ours, text(program), environ=environ))
            made.append(Kind(name, stores))
        for kind in made:
            await flow(kind.stores, [root("go", item=item)])  # the first warms up
        for _ in range(TURNS):
            for kind in made:
                kind.hops.append(await kind.turn(item, 1) / STAGES)
        for _ in range(BURSTS):
            for kind in random.sample(made, len(made)):
                await asyncio.sleep(SETTLE_S)
                kind.bursts.append(await kind.turn(item, ITEMS))
    return made


def main() -> None:
    with folder() as place, sink() as endpoint:
        program = compiled("tiny", place / "tiny")
        kinds = {
            "no telemetry": {},
            "telemetry": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            "its collector is away": AWAY,
        }
        made = asyncio.run(compare(place, program, kinds))
        jobs = STAGES * (TURNS + ITEMS * BURSTS)
        for kind in made:
            hop, burst = statistics.median(kind.hops) * 1000, statistics.median(kind.bursts)
            least = statistics.median(made[0].hops) * 1000
            line(f"a hop, {kind.name}", f"{hop:.2f} ms", f"{least:.2f} ms", f"{kind.cpu_s / jobs * 1000:.2f} ms of CPU")
            line(f"{ITEMS} items, {kind.name}", f"{burst:.3f} s", f"{statistics.median(made[0].bursts):.3f} s", "")
