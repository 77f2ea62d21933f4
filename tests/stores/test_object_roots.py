"""A root event whose files take long on their way to an object store, and a collector that passes meanwhile."""

import asyncio
import time
import uuid
from pathlib import Path

import msgspec
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.bus.sqlite import SqliteBus
from ion.adapters.documents.sqlite import SqliteDocuments
from ion.adapters.ledger.sqlite import SqliteLedger
from ion.adapters.sqlite.database import Database
from ion.dispatcher.stores import Stores
from ion.handler import JobHandler
from ion.management.collect import Collector
from ion.management.events import RootEvent, RootFile, raise_event
from ion.model.retention import Retention


async def test_a_root_event_may_take_hours_to_store(server: ObjectServer, tmp_path: Path) -> None:
    """What of it is stored, and nobody's yet, is left alone while the rest comes."""
    direct = server.fresh(f"t-{uuid.uuid4().hex}")
    for name in ("first", "last"):
        (tmp_path / name).write_text(name)
    files = tuple(RootFile(name=name, file=tmp_path / name) for name in ("first", "last"))
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def judge(method: str, target: str) -> Fate:
        if method == "PUT" and target.partition("?")[0].endswith("/data/last"):
            waits.set()
            await goes_on.wait()
        return Fate.PASS

    async with HttpProxy(server.port) as proxy, Database(None) as database, SqliteLedger(database) as ledger:
        proxy.judge = judge
        through = msgspec.structs.replace(direct, endpoint=direct.endpoint.replace(str(server.port), str(proxy.port)))
        async with ObjectBlobs(through) as slow, ObjectBlobs(direct) as blobs, SqliteDocuments(database) as documents:
            raising = asyncio.create_task(
                raise_event(RootEvent(type="photo", files=files), gateway="cli", ledger=ledger, blobs=slow)
            )
            await waits.wait()
            while not [blob async for blob in blobs.list("")]:  # noqa: ASYNC110 - until the first is there
                await asyncio.sleep(0)
            handler = JobHandler(blobs, host="here")
            stores = Stores(ledger=ledger, documents=documents, blobs=blobs, bus=SqliteBus(database), handler=handler)
            three_hours_on = Collector(stores, Retention(), clock=lambda: time.time() + 3 * 3600)
            assert not (await three_hours_on.collect()).anything
            goes_on.set()
            event = (await raising).event
            assert [await blobs.get_bytes(file.blob) for file in event.files] == [b"first", b"last"]
