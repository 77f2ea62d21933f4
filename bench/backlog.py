"""A hundred thousand waiting jobs: are claims, commits and the look for quiet as quick as with a hundred?"""

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import folder, line

from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.model import ids
from ion.model.event import Event
from ion.model.job import Job
from ion.model.manifest import ManifestRef
from ion.model.module import Module, Subscription, revise
from ion.ports.ledger import Claim

FEW, MANY, TURNS = 100, 100_000, 40


def job(flow: str) -> Job:
    event = Event(
        id=ids.new_id(), type="go", source="ion:bench", correlation_id=flow, parent_id="bench", time=datetime.now(UTC)
    )
    return Job(id=ids.job_id(event.id, "work"), module="work", event=event)


async def measured(file: Path, waiting: int, synchronous: str = "normal") -> dict[str, float]:
    """Median milliseconds of each verb, one at a time, with so many jobs waiting in ten flows."""
    flows = [ids.new_id() for _ in range(10)]
    at = datetime.now(UTC)
    async with Database(file, synchronous=synchronous) as database, SqliteLedger(database) as ledger:
        revision = revise(Module(name="work", on=(Subscription(type="go"),), command=("true",)))
        await ledger.apply([revision], "bench")
        for start in range(0, waiting, 1000):
            await ledger.admit([job(flows[n % 10]) for n in range(start, min(waiting, start + 1000))])
        took: dict[str, list[float]] = {"claim": [], "commit": [], "quiet": []}
        for _ in range(TURNS):
            began = time.perf_counter()
            (claimed,) = await ledger.claim(
                Claim(module="work", most=1, owner="me", scope="here", revision=revision.id, deadline_s=60)
            )
            took["claim"].append(time.perf_counter() - began)
            ref = ManifestRef(blob="x", sha256="", execution=ids.new_id(), started_at=at, ended_at=at)
            began = time.perf_counter()
            await ledger.commit(claimed.id, 1, ref)
            took["commit"].append(time.perf_counter() - began)
            began = time.perf_counter()
            await ledger.open(claimed.correlation_id)
            took["quiet"].append(time.perf_counter() - began)
        return {verb: statistics.median(values) * 1000 for verb, values in took.items()}


def fsync_ms(place: Path) -> float:
    """The disk's own limit: one small append, forced."""
    took = []
    with (place / "forced").open("wb", buffering=0) as file:
        for _ in range(TURNS):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def main() -> None:
    with folder() as place:
        few = asyncio.run(measured(place / "few.db", FEW))
        many = asyncio.run(measured(place / "many.db", MANY))
        for verb, figure in many.items():
            line(f"{verb} with {MANY:,} waiting", f"{figure:.3f} ms", f"{few[verb]:.3f} ms", f"floor: with {FEW}")
        full = asyncio.run(measured(place / "full.db", FEW, "full"))
        line("commit, synchronous: full", f"{full['commit']:.3f} ms", f"{fsync_ms(place):.3f} ms", "floor: one fsync")
        line("commit, synchronous: normal", f"{few['commit']:.3f} ms", "-", "survives kill -9, not a power cut")
