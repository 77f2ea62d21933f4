"""A proxy between an adapter and its store that knows requests: it answers some itself, and loses or cuts answers."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

Headers = dict[str, str]


class Fate(Enum):
    PASS = "pass"
    BUSY = "busy"  # 503, and the store never hears of it
    DROP = "drop"  # the connection is closed in the midst of the request
    LOSE = "lose"  # the store does it, and the answer is a 500
    CLOSE = "close"  # the store does it, and the connection is closed without an answer
    HANG = "hang"  # the store does it, and nothing comes
    CUT = "cut"  # half of the answer's body comes, then the connection is closed
    AGREE = "agree"  # the store refuses, and the answer is a 200


class HttpProxy:
    """Forwards requests from a free port of loopback to `target`. `judge` decides about each by method and target.

    With `tls` its own side is encrypted; the target's is not.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.judge: Callable[[str, str], Awaitable[Fate]] = _passed
        self._target, self._tls = target, tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def always(self, fate: Fate, method: str = "", part: str = "", times: int = 1_000_000) -> list[str]:
        """Gives this fate to the next requests of the method whose target has that part; they are kept in the list."""
        met: list[str] = []

        async def judge(asked: str, target: str) -> Fate:
            if asked.startswith(method) and part in target and len(met) < times:
                met.append(f"{asked} {target}")
                return fate
            return Fate.PASS

        self.judge = judge
        return met

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._serve(reader, writer):
                    pass
        finally:
            writer.close()
            self._serving.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection stays."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode("latin-1").split(" ", 2)
        fate = await self.judge(method, target)
        if fate is Fate.DROP:
            await reader.read(100_000)
            return False
        body = await reader.readexactly(int(_headers(head).get("content-length", "0")))
        if fate is Fate.BUSY:
            await _answer(writer, "503 Service Unavailable")
            return True
        answer, content = await self._asked(method, head, body)
        if fate is Fate.CLOSE:
            return False
        if fate is Fate.HANG:
            await reader.read()  # until the other side has enough
            return False
        if fate is Fate.LOSE:
            await _answer(writer, "500 Internal Server Error")
        elif fate is Fate.AGREE and b" 200 " not in answer.partition(b"\r\n")[0]:
            await _answer(writer, '200 OK\r\nETag: "x"')
        else:
            writer.write(answer + (content[: len(content) // 2] if fate is Fate.CUT else content))
            await writer.drain()
        return fate is not Fate.CUT

    async def _asked(self, method: str, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The store's answer, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            writer.write(head + body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            headers = _headers(answer)
            if method == "HEAD" or b" 204 " in answer.partition(b"\r\n")[0]:
                return answer, b""
            if headers.get("transfer-encoding") == "chunked":
                return answer, await _chunks(reader)
            return answer, await reader.readexactly(int(headers.get("content-length", "0")))
        finally:
            writer.close()


async def _passed(method: str, target: str) -> Fate:
    return Fate.PASS


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    await writer.drain()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body as it came."""
    came = b""
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        came += line + await reader.readexactly(size + 2)
        if not size:
            return came


def _headers(head: bytes) -> Headers:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
