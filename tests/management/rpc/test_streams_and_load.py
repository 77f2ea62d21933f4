"""Many callers at once, slow ones and dead ones: the server holds little, and lets go of what nobody reads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.management.rpc.stage import World, remotely

from ion.dispatcher.stores import Stores
from ion.management.local import LocalManagement
from ion.management.local.jobs import LocalJobs
from ion.management.local.site import Site
from ion.management.rpc.remote import RemoteManagement, open_remote
from ion.management.rpc.serve import Liveness, serving
from ion.management.verbs import JobVerbs, Management
from ion.model.retention import Retention

PATIENCE_S = 120.0
PIECE = b"x" * 65_536
HELD_MOST = 32 * 1024 * 1024
"""What may be on its way to a client that reads nothing: gRPC's windows at their largest, not the log."""


class LongLog(LocalJobs):
    """The verbs on jobs, with a log that goes on for ever, at once or (`stalls`) not after its first piece."""

    def __init__(self, stores: Stores, *, stalls: bool) -> None:
        super().__init__(Site(stores=stores, actor="tester", work=None, retention=Retention(), place="here"))
        self.given = 0
        self.ended = asyncio.Event()
        self._stalls = stalls

    async def log(self, *, job: str, follow: bool = False, start: int = 0) -> AsyncIterator[bytes]:
        try:
            while True:
                self.given += 1
                yield PIECE
                if self._stalls:
                    await asyncio.Event().wait()
        finally:
            self.ended.set()


class LongLogs(LocalManagement):
    """The verbs on a store, with such a log."""

    def __init__(self, stores: Stores, *, stalls: bool) -> None:
        super().__init__(stores, actor="tester", work=None, retention=Retention(), place="here")
        self.log = LongLog(stores, stalls=stalls)

    @property
    def jobs(self) -> JobVerbs:
        return self.log


async def settled(log: LongLog, remote: RemoteManagement) -> int:
    """How many pieces were taken from the log once no more are, while other calls go through."""
    while True:
        before = log.given
        for _ in range(50):
            await remote.modules.list()
        if log.given == before:
            return before


async def test_a_thousand_calls_at_once_are_all_answered(world: World, tmp_path: Path) -> None:
    """A thousand unary calls on one channel each get the right answer."""
    wanted = [world.root, world.detect, world.broken]
    async with remotely(world.local, tmp_path / "spool", timeout_s=PATIENCE_S) as remote:
        jobs = await asyncio.gather(*(remote.jobs.get(job=wanted[n % 3]) for n in range(1000)))
    assert [job.id for job in jobs] == [wanted[n % 3] for n in range(1000)]


async def test_a_slow_client_is_waited_for(stores: Stores) -> None:
    """Of a log whose client does not read, no more is taken than is on its way; others are answered meanwhile, and it
    goes on where it was once it is read again.
    """
    logs = LongLogs(stores, stalls=False)
    async with serving(lambda _: logs) as port, open_remote(f"127.0.0.1:{port}", timeout_s=PATIENCE_S) as remote:
        log = remote.jobs.log(job="any", follow=True)
        assert await anext(log) == PIECE
        held = await settled(logs.log, remote)
        assert held * len(PIECE) < HELD_MOST
        for _ in range(held + 5):
            assert await anext(log) == PIECE
        assert logs.log.given > held
        await log.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            await logs.log.ended.wait()


async def test_two_hundred_slow_clients_leave_nothing_behind(stores: Stores) -> None:
    """What served clients that read nothing and went away is gone, to the last task."""
    logs = LongLogs(stores, stalls=True)
    async with serving(lambda _: logs) as port, open_remote(f"127.0.0.1:{port}") as remote:
        await remote.modules.list()
        before = len(asyncio.all_tasks())
        streams = [remote.jobs.log(job="any", follow=True) for _ in range(200)]
        for stream in streams:
            await anext(stream)
        assert len(asyncio.all_tasks()) > before + 100
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            while len(asyncio.all_tasks()) > before:
                await remote.modules.list()


class Wire:
    """A wire between client and server that can be cut without either being told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cut = asyncio.Event()

    def cut(self) -> None:
        self._cut.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            back.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while content := await source.read(65_536):
            if self._cut.is_set():
                continue  # swallowed: neither side hears of the other again
            target.write(content)
            await target.drain()
        target.close()


@asynccontextmanager
async def wired(port: int) -> AsyncGenerator[tuple[Wire, int]]:
    wire = Wire(port)
    async with await asyncio.start_server(wire.carry, "127.0.0.1", 0) as server:
        yield wire, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("stalls", [True, False], ids=["nothing to send", "much to send"])
async def test_a_dead_client_is_found_out(stores: Stores, *, stalls: bool) -> None:
    """A client that vanished without a word does not keep its log open: the stream ends, whether or not it has
    anything to send.
    """
    logs = LongLogs(stores, stalls=stalls)
    soon = Liveness(ping_s=0.3, answer_s=6.0)
    async with (
        serving(lambda _: logs, liveness=soon) as port,
        wired(port) as (wire, way),
        open_remote(f"127.0.0.1:{way}") as remote,
    ):
        log = remote.jobs.log(job="any", follow=True)
        await anext(log)
        wire.cut()
        async with asyncio.timeout(PATIENCE_S):
            await logs.log.ended.wait()
        await log.aclose()  # type: ignore[attr-defined]


async def test_the_verbs_are_those_of_the_caller(local: Management) -> None:
    """Who calls decides whose verbs are used, call by call."""
    seen: list[str] = []

    def who(context: object) -> Management:
        seen.append(context.peer())  # type: ignore[attr-defined]
        return local

    async with serving(who) as port, open_remote(f"127.0.0.1:{port}") as remote:
        await remote.modules.list()
        await remote.flows.list()
    assert len(seen) == 2
    assert all(peer.startswith("ipv4:127.0.0.1:") for peer in seen)
