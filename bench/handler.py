"""How soon a handler in a pod of its own is at work: from its process's start to the first byte that the store answers.

Each job waits for that twice. The store is a real one on this machine, behind a relay that keeps the time. The floor is
Python with the store's client alone, which asks for the same blob.
"""

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from bench.measure import ION, TURNS, folder, line
from tests.stores.seaweed import ACCESS, ROLE, SECRET, Seaweed

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.model import ids
from ion.model.event import Event, FileRef
from ion.model.job import Job
from ion.model.module import Module, revise
from ion.ports.executor import Assignment
from ion.wiring.handler import ASSIGNMENT, BLOBS, opening

BARE_GET = f"""
import sys, obstore
from obstore.store import S3Store
store = S3Store("ion-tests", region="us-east-1", endpoint=sys.argv[1], access_key_id={ACCESS!r},
                secret_access_key={SECRET!r}, client_options={{"allow_http": True}})
"""
FLOORS = {
    "prepare": f"{BARE_GET}obstore.get(store, sys.argv[2]).bytes()",
    "commit": f"{BARE_GET}obstore.put(store, sys.argv[3], b'', mode='create')",
}


class Relay:
    """Carries bytes to a port of this machine and back. `answered` is when the first came back."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.answered = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            store = socket.create_connection(("127.0.0.1", self._target))
            for source, to, back in ((client, store, False), (store, client, True)):
                threading.Thread(target=self._carry, args=(source, to, back), daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):  # one side has gone, and so may the other
            while piece := source.recv(65536):
                if back and not self.answered:
                    self.answered = time.perf_counter()
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)


def began_to_answered(relay: Relay, command: Callable[[], Sequence[str]], environment: dict[str, str]) -> list[float]:
    """Seconds from a process's start to the store's first byte, and to its end: the median of several turns.

    A first turn is not counted: it compiles what is imported.
    """
    firsts, wholes = [], []
    for turn in range(TURNS + 1):
        words, relay.answered, began = command(), 0.0, time.perf_counter()
        subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
        if turn:
            firsts.append(relay.answered - began)
            wholes.append(time.perf_counter() - began)
    return [statistics.median(firsts), statistics.median(wholes)]


async def given(settings: ObjectsSettings, files: Path) -> str:
    """Stores an input and writes what a handler gets for it; the input's key in the bucket."""
    async with ObjectBlobs(settings) as blobs:
        await blobs.put_bytes("root/1/x/data/a", b"a" * 1000)
        event = Event(
            id=ids.new_id(),
            type="go",
            source="ion:bench",
            correlation_id="flow",
            parent_id="bench",
            time=datetime.now(UTC),
            files=(FileRef(path="a", blob="root/1/x/data/a", size=1000, sha256=""),),
        )
        job = Job(id=ids.new_id(), module="work", event=event, attempt=1)
        work = Assignment(job=job, revision=revise(Module(name="work", command=("true",)), ""))
        (files / ASSIGNMENT).write_bytes(msgspec.json.encode(work))
        (files / BLOBS).write_bytes((await opening(blobs, settings, work))[0])
    return f"{settings.prefix}root/1/x/data/a"


def main() -> None:
    with folder() as place, Seaweed(place / "seaweed") as server:
        relay = Relay(server.port)
        settings = msgspec.structs.replace(server.fresh("bench", relay.port), role=ROLE)
        key = asyncio.run(given(settings, place))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"ION_BASE_DIR": f"{place}/ion", "ION_HANDLER_FILES": str(place)}
        for step, floor in FLOORS.items():

            def bare(program: str = floor) -> list[str]:
                return [sys.executable, "-c", program, settings.endpoint, key, f"{settings.prefix}{ids.new_id()}"]

            def ours(name: str = step) -> list[str]:
                if name == "commit":  # a commit that is there already would store nothing
                    subprocess.run([ION, "handler", "prepare"], env=environment, check=True)
                return [str(ION), "handler", name]

            first, whole = began_to_answered(relay, ours, environment)
            bound, bound_whole = began_to_answered(relay, bare, environment)
            goal = "goal 150" if step == "prepare" else ""
            line(f"ion handler {step}, to the first byte", f"{first * 1000:.0f} ms", f"{bound * 1000:.0f} ms", goal)
            line("  to its end", f"{whole * 1000:.0f} ms", f"{bound_whole * 1000:.0f} ms")
