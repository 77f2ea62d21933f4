"""A TCP proxy that stands between an adapter and its server, to cut and to stall the line between them."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class _Gates:
    """Each direction passes as long as its gate is set."""

    def __init__(self) -> None:
        self.there, self.back = asyncio.Event(), asyncio.Event()
        self.there.set()
        self.back.set()


class Proxy:
    """Forwards connections from a free port of loopback to `target`, as long as it is open."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._gates = _Gates()
        self._former: list[_Gates] = []
        self._refuses = False
        self._pace = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every connection before it returns: asyncio logs what is left when the loop ends as an error."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self.resume()
        self.cut()
        for writer in self._writers:
            writer.transport.abort()  # what is not sent yet would be waited for
        if self._serving:
            await asyncio.wait(self._serving)

    def cut(self) -> None:
        """Closes every connection, and each new one at once, until `mend`."""
        self._refuses = True
        for writer in list(self._writers):
            writer.close()

    def mend(self) -> None:
        self._refuses = False

    def stall(self) -> None:
        """Connections stay open, and nothing passes, until `resume`."""
        self._gates.there.clear()
        self._gates.back.clear()

    def hold_answers(self) -> None:
        """What is asked passes, and no answer, until `resume`."""
        self._gates.back.clear()

    def strand(self) -> None:
        """As `stall` does to the connections that are open now; new ones flow."""
        self.stall()
        self._former.append(self._gates)
        self._gates = _Gates()

    def slow(self, pace: int) -> None:
        """No more than so many bytes a second pass."""
        self._pace = pace

    def resume(self) -> None:
        for gates in (*self._former, self._gates):
            gates.there.set()
            gates.back.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="a connection through the proxy")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.close()
            return
        gates = self._gates
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is down
            writer.close()
            return
        self._writers |= {writer, far_writer}
        if self._refuses:  # cut meanwhile
            self.cut()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, far_writer, gates.there), name="there")
                group.create_task(self._forward(far_reader, writer, gates.back), name="back")
        finally:
            self._writers -= {writer, far_writer}

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with suppress(OSError):
            while piece := await reader.read(64 * 1024):
                await gate.wait()
                if self._pace:
                    await asyncio.sleep(len(piece) / self._pace)
                writer.write(piece)
                await writer.drain()
        writer.close()
