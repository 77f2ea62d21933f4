"""What the tests of the management API share: a store with a flow that has ended, and a server on it."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ion.config.load import load_pipeline
from ion.dispatcher.finish import Progress
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.dispatcher.stores import Stores
from ion.management.events import RootFile
from ion.management.local import LocalManagement
from ion.management.registry import apply_modules
from ion.management.rpc.remote import RemoteManagement, open_remote
from ion.management.rpc.serve import serving
from ion.management.run import until_quiet
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.model.retention import Retention
from ion.wiring import open_executors, open_store

PROGRAM = """
import json, os, pathlib
out = pathlib.Path(os.environ["ION_DIR"]) / "out"
(out / "data").mkdir(parents=True, exist_ok=True)
(out / "events").mkdir(parents=True, exist_ok=True)
(out / "data" / "face.txt").write_text("a face")
(out / "insights.json").write_text(json.dumps({"faces": 2, "label": "Grüße"}))
(out / "events" / "1.json").write_text(json.dumps({"type": "face", "files": ["face.txt"], "data": {"n": 1}}))
print("found two faces")
"""
PIPELINE = """
ion: 1
name: media
modules:
  detect:
    command: [{python}, -c, {program}]
    on: [{{type: photo, filters: [{{prefix: {{type: ph}}}}]}}]
    emits: [face]
    env: {{THRESHOLD: "0.7"}}
  broken:
    command: ["{python}", "-c", "raise SystemExit(3)"]
    on: [face]
    retries: 0
"""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """An open store, the verbs on it, and the flow and jobs that ran there."""

    stores: Stores
    local: Management
    flow: str
    root: str
    detect: str
    broken: str


def management(stores: Stores, work: Path | None = None) -> Management:
    return LocalManagement(stores, actor="tester", work=work, retention=Retention(), place="here")


def ignore(_: Progress) -> None:
    return None


@asynccontextmanager
async def bare(folder: Path) -> AsyncGenerator[Stores]:
    """An open store in which nothing has happened, with two modules in its registry."""
    file = folder / "ion.yaml"
    file.write_text(PIPELINE.format(python=sys.executable, program=msgspec.json.encode(PROGRAM).decode()))
    pipeline = load_pipeline(file, environ={})
    async with open_store(folder / ".ion", pipeline.settings) as stores:
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="tester")
        yield stores


@asynccontextmanager
async def lived(folder: Path) -> AsyncGenerator[World]:
    """A store in which a flow ran to its end: a gateway's job, one that went well, one that died."""
    store = folder / ".ion"
    photo = folder / "photo.jpg"
    photo.write_bytes(b"a photo")
    async with bare(folder) as stores:
        local = management(stores, store / "work")
        settings = DispatcherSettings(locks=store / "run")
        machine = load_pipeline(folder / "ion.yaml", environ={}).settings
        async with (
            open_executors(store, stores, machine, os.environ) as executors,
            Dispatcher(stores, executors, settings, observe=ignore),
        ):
            raised = await local.events.create(
                event=NewEvent(type="photo", data={"kind": "portrait", "n": [1, 2.5, None]}),
                files=[RootFile(name="a/photo.jpg", file=photo)],
            )
            await until_quiet(stores.ledger, raised.event.correlation_id)
        jobs = {line.job.module: line.job.id async for line in local.flows.tree(flow=raised.event.correlation_id)}
        yield World(
            stores=stores,
            local=local,
            flow=raised.event.correlation_id,
            root=raised.job,
            detect=jobs["detect"],
            broken=jobs["broken"],
        )


@asynccontextmanager
async def remotely(local: Management, spool: Path, **how: float) -> AsyncGenerator[RemoteManagement]:
    """The same verbs, by way of a server and a client."""
    async with serving(lambda _: local, spool=spool) as port, open_remote(f"127.0.0.1:{port}", **how) as remote:  # type: ignore[arg-type]
        yield remote
