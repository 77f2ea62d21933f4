"""Serves the pipeline of this folder for one provider, whose jobs are processes of this host: `one_provider.py STORE
PROVIDER`. With a lease of one second, for tests of what happens when it runs out.

It runs under a hostname of its own, that of the provider, so dispatchers of two providers are on two hosts.
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from ion.config.load import load_pipeline
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.management.registry import apply_modules
from ion.wiring import open_executors, open_store


async def main(store: Path, provider: str) -> None:
    pipeline = load_pipeline(Path("ion.yaml"), environ=os.environ)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = DispatcherSettings(locks=store / "run", lease_s=1.0, reconcile_s=0.5, sweep_s=2.0, stop_grace_s=10.0)
    async with (
        open_store(store, pipeline.settings) as stores,
        open_executors(store / provider, stores, pipeline.settings, os.environ) as executors,
    ):
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline=pipeline.name, actor="test")
        dispatcher = Dispatcher(stores, {provider: executors["local"]}, settings)
        print(f"is {provider} {dispatcher.id}", flush=True)  # before it claims: it may be killed at any time
        async with dispatcher:
            print(f"open {provider}", flush=True)
            await stop.wait()


if socket.gethostname() != sys.argv[2]:
    renamed = 'hostname "$1" && shift && exec "$@"'
    os.execvp("unshare", ["unshare", "--uts", "sh", "-c", renamed, "sh", sys.argv[2], sys.executable, *sys.argv])
asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
