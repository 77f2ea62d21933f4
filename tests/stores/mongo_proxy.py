"""A line to a MongoDB server on which a test may answer in its stead, or cut it before or after a command.

It speaks the real wire protocol (OP_MSG); what it lets pass it passes as it is. A double of a throttling Azure Cosmos
DB for MongoDB, and of a process that dies between two writes.
"""

import asyncio
import itertools
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from bson import decode, encode

_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")

WRITES = frozenset({"insert", "update", "delete", "findAndModify"})

Command = dict[str, Any]


class Proxy:
    """Listens on a free port of loopback.

    Args:
        port: The server's.
        answer: Gives the answer in the server's stead, or None to pass the command on.
    """

    def __init__(self, port: int, answer: Callable[[Command], Command | None] = lambda _: None) -> None:
        self._port = port
        self.answer = answer
        self.cut_at: int | None = None
        """At which write, counted from 0, the line is cut for good; None for never."""
        self.cut_after = False
        """Whether that write still reaches the server, and only its answer is lost."""
        self.writes = 0
        self._cut = False
        self._lines: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        """The address, for a client that must not look for another one."""
        assert self._server is not None
        return f"mongodb://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/?directConnection=true"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._close_lines()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    def _close_lines(self) -> None:
        for line in tuple(self._lines):
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._lines.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if not self._cut:
                    await self._relay(reader, writer)
        finally:
            self._lines.discard(writer)
            await _closed(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        self._lines.add(to_server)
        try:
            while True:
                number, kind, message = await _message(reader)
                command = _command(message) if kind == _OP_MSG else {}
                if self._cuts(command) and not self.cut_after:
                    return self._end()
                answer = self.answer(command) if command else None
                if answer is None:
                    to_server.write(message)
                    *_, reply = await _message(from_server)
                else:
                    reply = _reply(number, next(self._numbers), answer)
                if self._cuts(command):
                    return self._end()
                self.writes += next(iter(command), "") in WRITES
                writer.write(reply)
                await writer.drain()
        finally:
            self._lines.discard(to_server)
            await _closed(to_server)

    def _cuts(self, command: Command) -> bool:
        return self._cut or (next(iter(command), "") in WRITES and self.writes == self.cut_at)

    def _end(self) -> None:
        self._cut = True
        self._close_lines()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def _message(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """The number, the kind and the whole of the next message."""
    header = await reader.readexactly(_HEADER.size)
    length, number, _, kind = _HEADER.unpack(header)
    return number, kind, header + await reader.readexactly(length - _HEADER.size)


def _command(message: bytes) -> Command:
    """The command of a message; documents that come beside it are left out."""
    at = _HEADER.size + 4
    while message[at] != 0:  # a sequence of documents stands before the command
        at += 1 + int(struct.unpack_from("<i", message, at + 1)[0])
    (length,) = struct.unpack_from("<i", message, at + 1)
    return decode(message[at + 1 : at + 1 + length])


def _reply(to: int, number: int, answer: Command) -> bytes:
    body = struct.pack("<i", 0) + b"\0" + encode(answer)
    return _HEADER.pack(_HEADER.size + len(body), number, to, _OP_MSG) + body
