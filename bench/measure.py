"""What every benchmark shares: a folder of its own, Ion run on it, and a line that shows a figure beside its floor."""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType

from ion.config.load import load_pipeline
from ion.config.pipeline import Pipeline
from ion.dispatcher.finish import Observer, Progress
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.dispatcher.stores import Stores
from ion.management.events import RootEvent, RootFile, raise_events
from ion.management.registry import apply_modules
from ion.management.run import until_quiet
from ion.wiring import open_executors, open_store
from ion.wiring.telemetry import watching

PROGRAMS = Path(__file__).parent / "programs"
ION = Path(sys.executable).with_name("ion")
TURNS = 11


WHOLE = "ION_BENCH_FOLDER"
"""Names the folder of a whole run of benchmarks, removed at its end and not before: on a file system that looks
at what was freed lately (ext4 without a journal does), removing one's files makes the next one's dear.
"""


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder on the disk that holds the user's cache, not on a memory file system."""
    if whole := os.environ.get(WHOLE):
        yield Path(tempfile.mkdtemp(dir=whole))
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ion-bench"
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=cache))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def compiled(name: str, target: Path) -> Path:
    """A C program of `programs`, built; the benchmark ends with a sentence where there is no compiler."""
    if shutil.which("cc") is None:
        sys.exit(f"bench: {name}.c needs a C compiler (cc)")
    subprocess.run(["cc", "-O2", "-o", str(target), str(PROGRAMS / f"{name}.c")], check=True)
    return target


def median(command: list[str], place: Path) -> float:
    """Seconds that a command takes from its start to its end."""
    took = []
    for _ in range(TURNS):
        began = time.perf_counter()
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@asynccontextmanager
async def served(
    place: Path, text: str, observe: Observer = lambda _: None, environ: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[Stores, Pipeline]]:
    """A pipeline on a store in `place`, dispatched in this process; `environ` may ask for telemetry."""
    (place / "ion.yaml").write_text(text)
    pipeline = load_pipeline(place / "ion.yaml", environ={})
    store = place / ".ion"
    settings = DispatcherSettings(locks=store / "run")
    async with (
        open_store(store, pipeline.settings) as stores,
        open_executors(store, stores, pipeline.settings, os.environ) as executors,
    ):
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="bench")
        async with watching(stores, None, environ) as watched:

            def told(progress: Progress) -> None:
                observe(progress)
                watched.observe(progress)

            async with (
                Dispatcher(stores, executors, settings, observe=told, released=watched.released) as dispatcher,
                asyncio.TaskGroup() as group,
            ):
                broken = group.create_task(dispatcher.wait())  # which ends the benchmark
                yield stores, pipeline
                broken.cancel()


async def flow(stores: Stores, roots: Sequence[RootEvent]) -> float:
    """Raises the events in one flow and waits until it is quiet; seconds from the admission."""
    raised = await raise_events(roots, gateway="bench", ledger=stores.ledger, blobs=stores.blobs)
    began = time.perf_counter()
    stuck = await until_quiet(stores.ledger, raised[0].event.correlation_id)
    seconds = time.perf_counter() - began
    tally = await stores.ledger.tally(raised[0].event.correlation_id)
    wrong = {key: count for key, count in tally.items() if key[1] != "released" and count}
    if stuck or wrong:
        sys.exit(f"bench: the flow did not go as it should: {stuck or wrong}")
    return seconds


def root(kind: str, **files: Path) -> RootEvent:
    return RootEvent(type=kind, files=tuple(RootFile(name=name, file=file) for name, file in files.items()))


def line(what: str, figure: str, floor: str, goal: str = "") -> None:
    print(f"{what:<44} {figure:>14}   floor {floor:>12}   {goal}".rstrip(), flush=True)
