"""Serves the pipeline of this folder, `short_lease.py STORE [LEASE_S]`: with a lease of one second, for tests of what
happens when it runs out, or with another.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from ion.config.load import load_pipeline
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.management.registry import apply_modules
from ion.wiring import open_executors, open_store


async def main(store: Path, lease_s: float = 1.0) -> None:
    pipeline = load_pipeline(Path("ion.yaml"), environ=os.environ)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = DispatcherSettings(locks=store / "run", lease_s=lease_s, reconcile_s=0.5, sweep_s=2.0, stop_grace_s=10.0)
    async with (
        open_store(store, pipeline.settings) as stores,
        open_executors(store, stores, pipeline.settings, os.environ) as executors,
    ):
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="test")
        async with Dispatcher(stores, executors, settings):
            print("open", flush=True)
            await stop.wait()


asyncio.run(main(Path(sys.argv[1]), *map(float, sys.argv[2:])))
