"""A proxy before the real API server, for what that server cannot be asked to do: fail, fall silent, be away.

It speaks plain HTTP to the client, one request a connection, and passes answers on as they come, so watches and logs
flow through it. `judge` looks at every request before the server does.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec
from tests.cluster.cluster import Cluster
from tests.ports import free_port


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request. `at_s` is by the monotonic clock."""

    method: str
    target: str
    at_s: float

    @property
    def watches(self) -> bool:
        return "watch=true" in self.target

    def makes(self, kind: str) -> bool:
        return self.method == "POST" and self.target.endswith(f"/{kind}")


class Fate(Enum):
    PASS = "pass"
    LOSE = "lose"  # the server does it, and the answer is a 500
    CLOSE = "close"  # the server does it, and the connection is closed without an answer
    DROP = "drop"  # the connection is closed, and the server never hears of it
    SILENT = "silent"  # the server does it, and no byte of its answer comes until the connection is cut
    HALVE = "halve"  # the answer comes to its proper end in the midst of its first line


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the proxy says itself, or asks in the request's place: `target`, where that is not empty."""

    status: str = "200 OK"
    headers: Mapping[str, str] = {}
    body: bytes = b""
    target: str = ""


def refusal(code: int, reason: str, **headers: str) -> Answer:
    """As API servers refuse."""
    said = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": reason,
        "code": code,
        "reason": reason,
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=f"{code} {reason}", headers=named, body=json.dumps(said).encode())


def _passes(_: Asked) -> Fate | Answer:
    return Fate.PASS


class ApiProxy:
    """Before `cluster`'s API server, on a free port of loopback; `kubeconfig` leads to it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        found = json.loads(cluster.kubeconfig.read_text())
        self._cluster = found["clusters"][0]["cluster"]
        self._document = found
        self._target = urlsplit(self._cluster["server"])
        self._tls = ssl.create_default_context(cafile=self._cluster["certificate-authority"])
        self.kubeconfig = folder / "through-a-proxy.kubeconfig"
        self.judge: Callable[[Asked], Fate | Answer] = _passes
        self.asked: list[Asked] = []
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], Asked | None] = {}
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        await self.back()
        document = {**self._document, "clusters": [{"name": "ion", "cluster": {"server": self.server}}]}
        self.kubeconfig.write_text(json.dumps(document))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.away()

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def passes(self) -> None:
        """Everything, from now on."""
        self.judge = _passes
        self._flows.set()

    def next(self, wanted: Callable[[Asked], bool], fate: Fate | Answer, times: int = 1_000_000) -> list[Asked]:
        """Gives this fate to the next requests that are wanted; they are kept in the list."""
        met: list[Asked] = []

        def judge(asked: Asked) -> Fate | Answer:
            if len(met) < times and wanted(asked):
                met.append(asked)
                return fate
            return Fate.PASS

        self.judge = judge
        return met

    def stall(self) -> None:
        """No byte comes from the server any more, and no connection ends, until `passes`."""
        self._flows.clear()

    async def cut(self, wanted: Callable[[Asked], bool] = lambda _: True) -> int:
        """Closes the connections of these requests; how many there were."""
        found = [task for task, asked in self._serving.items() if asked is not None and wanted(asked)]
        for task in found:
            task.cancel()
        await asyncio.gather(*found, return_exceptions=True)
        return len(found)

    async def away(self) -> None:
        """Nothing listens there, and everything that was under way is cut."""
        assert self._server is not None
        self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def back(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    # ---- one request --------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = None
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # it is cut
                await self._serve(task, reader, writer)
        finally:
            del self._serving[task]
            writer.close()

    async def _serve(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        request, _, headers = head.decode("latin-1").partition("\r\n")
        method, target, _ = request.split(" ")
        asked = self._serving[task] = Asked(method=method, target=target, at_s=time.monotonic())
        self.asked.append(asked)
        fate = self.judge(asked)
        if fate is Fate.DROP:
            return
        body = await reader.readexactly(_length(headers))
        if isinstance(fate, Answer) and not fate.target:
            writer.write(_said(fate))
        else:
            target = fate.target if isinstance(fate, Answer) else target
            await self._pass(
                f"{method} {target} HTTP/1.1\r\n{_one_only(headers)}".encode("latin-1") + body, fate, writer
            )
        await writer.drain()

    async def _pass(self, request: bytes, fate: Fate | Answer, writer: asyncio.StreamWriter) -> None:
        """Asks the server, and passes its answer on piece by piece."""
        upstream, to = await asyncio.open_connection(self._target.hostname, self._target.port, ssl=self._tls)
        try:
            to.write(request)
            await to.drain()
            if fate in (Fate.LOSE, Fate.CLOSE):
                await upstream.read()
                writer.write(_said(refusal(500, "Internal Server Error")) if fate is Fate.LOSE else b"")
            elif fate is Fate.SILENT:
                await asyncio.Event().wait()
            elif fate is Fate.HALVE:
                await self._halve(upstream, writer)
            else:
                while piece := await upstream.read(65536):
                    await self._flows.wait()
                    writer.write(piece)
                    await writer.drain()
        finally:
            to.transport.abort()  # closing it properly would wait for the server

    async def _halve(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await upstream.readuntil(b"\r\n\r\n"))
        size = int(await upstream.readline(), 16)
        half = await upstream.readexactly(size // 2)
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(half), half))


def _said(answer: Answer) -> bytes:
    headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(answer.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1") + answer.body


def _length(headers: str) -> int:
    return int(
        next((line.partition(":")[2] for line in _lines(headers) if line.lower().startswith("content-length")), "0")
    )


def _one_only(headers: str) -> str:
    """The headers, for a connection that ends with the answer, which is not compressed."""
    kept = [line for line in _lines(headers) if not line.lower().startswith(("connection:", "accept-encoding:"))]
    return "".join(f"{line}\r\n" for line in (*kept, "Connection: close")) + "\r\n"


def _lines(headers: str) -> list[str]:
    return [line for line in headers.split("\r\n") if line]
