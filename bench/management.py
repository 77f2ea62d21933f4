"""The management API beside a bare grpc.aio server: how long unary calls take, one after the other.

Both servers are processes of their own. The bare one answers with as many bytes as Ion does and looks at nothing; its
client sends and takes bytes. Ion's calls go the whole way: from a verb's arguments by the wire to the ledger's file on
disk, and back to structs. Turns of both alternate, so that what else the machine does meets both.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from bench.measure import folder, line, root

from ion.config.load import load_pipeline
from ion.management.events import raise_events
from ion.management.local import LocalManagement
from ion.management.registry import apply_modules
from ion.management.rpc.methods import methods
from ion.management.rpc.original_pb2 import ModuleGetRequest, ModuleGetResponse
from ion.management.rpc.remote import open_remote
from ion.management.rpc.serve import serving
from ion.model.retention import Retention
from ion.wiring import open_store

TURNS = 60
CALLS = 50
"""Of each kind in a turn: few, so that what else goes on meets both alike. The first turn is not counted."""
JOBS = 200
MODULE = "bench"
PIPELINE = f"ion: 1\nmodules:\n  {MODULE}: {{command: ['true'], on: [photo], emits: [face]}}\n"
GET = "/ModuleService/Get"
ECHO = "/Bare/Echo"
Ask = Callable[[], Awaitable[object]]


# ---- the servers: each a process, until its input ends -------------------------------------------------------------


async def serve_ion(place: Path) -> None:
    (place / "ion.yaml").write_text(PIPELINE)
    pipeline = load_pipeline(place / "ion.yaml", environ={})
    async with open_store(place / ".ion", pipeline.settings) as stores:
        await apply_modules(stores.ledger, stores.bus, pipeline.modules, pipeline="", actor="bench")
        await raise_events([root("photo")] * JOBS, gateway="bench", ledger=stores.ledger, blobs=stores.blobs)
        local = LocalManagement(stores, actor="bench", work=None, retention=Retention(), place="bench")
        async with serving(lambda _: local) as port:
            await _until_asked(port)


async def serve_bare(size: int) -> None:
    answer = b"x" * size

    async def echo(_request: bytes, _context: object) -> bytes:
        return answer

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await _until_asked(port)
    await server.stop(None)


async def _until_asked(port: int) -> None:
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[int]:
    """A server in a process; its port."""
    command = [sys.executable, "-m", "bench.management", *arguments]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert running.stdin
    assert running.stdout
    try:
        yield int(await running.stdout.readline())
    finally:
        running.stdin.close()
        await running.wait()


# ---- what is measured ----------------------------------------------------------------------------------------------


async def compared(what: str, ask: Ask, request: bytes, answer: bytes) -> None:
    async with process("bare", str(len(answer))) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = bare(channel, ECHO)
        ours: list[float] = []
        floor: list[float] = []
        for turn in range(TURNS):
            for took, one in ((floor, lambda: echo(request)), (ours, ask)):
                took.extend((await timed(one))[0 if turn else CALLS :])
    for name, of in (("median", statistics.median), ("p99", p99)):
        goal = f"{of(floor) / of(ours):.2f} of its speed (goal 0.6)"
        line(f"{what}: {name}", f"{of(ours) * 1e6:,.0f} µs", f"{of(floor) * 1e6:,.0f} µs", goal)


def bare(channel: grpc.aio.Channel, path: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """A call that takes bytes and gives bytes."""
    return channel.unary_unary(path)


async def timed(ask: Ask) -> Sequence[float]:
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - began)
    return took


def p99(took: Sequence[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


async def run(place: Path) -> None:
    by_verb = {(one.group, one.verb): one for one in methods()}
    async with (
        process("ion", str(place)) as port,
        open_remote(f"127.0.0.1:{port}") as remote,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        (flow,) = await remote.flows.list(most=1)
        job = [one.job.id async for one in remote.flows.tree(flow=flow.flow.correlation_id)][-1]
        asked: Sequence[tuple[str, tuple[str, str], dict[str, str], Ask]] = (
            ("Jobs.Get", ("jobs", "get"), {"job": job}, lambda: remote.jobs.get(job=job)),
            ("Server.Info", ("server", "info"), {}, remote.server.info),
        )
        for what, verb, given, ask in asked:
            method = by_verb[verb]
            assert method.arguments
            request = method.arguments.made(given).SerializeToString()
            await compared(what, ask, request, await bare(channel, method.path)(request))
        get = channel.unary_unary(GET, ModuleGetRequest.SerializeToString, ModuleGetResponse.FromString)
        of_module = ModuleGetRequest(name=MODULE)
        raw = of_module.SerializeToString()
        await compared("ModuleService.Get", lambda: get(of_module), raw, await bare(channel, GET)(raw))


def main() -> None:
    with folder() as place:
        asyncio.run(run(place))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ion", place]:
            asyncio.run(serve_ion(Path(place)))
        case ["bare", size]:
            asyncio.run(serve_bare(int(size)))
