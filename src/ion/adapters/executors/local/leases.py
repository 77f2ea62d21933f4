"""The executor's side of the guard: starts it when it is first needed, and asks it to hold and to release."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from ion.errors import UnavailableError

_ROOT = Path(__file__).parents[4]
_START = "import sys; sys.path.insert(0, sys.argv[1]); from ion.adapters.executors.local.guard import main; "

_LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer: it may name every linked file of an attempt."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A leased file was opened for writing. `sure`: by this attempt; else by somebody who could not be told."""

    path: str
    sure: bool


class Leases:
    """Read leases on linked inputs, held by a guard process.

    `on_broken` is called with an attempt's name when the guard ended it, with None when the guard itself is gone.
    """

    def __init__(self, *, on_broken: Callable[[str, Broken | None], None], known: set[int]) -> None:
        self._on_broken = on_broken
        self._known = known
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._held: set[str] = set()
        self._answers: dict[tuple[str, str], asyncio.Future[dict[str, object]]] = {}

    async def hold(self, name: str, folder: Path, files: Iterable[Path]) -> tuple[Path, ...]:
        """Leases `files` for the attempt in `folder`, before it starts. Returns those that cannot be leased."""
        async with self._starting:
            if self._writer is None:
                await self._start()
        self._held.add(name)
        request = {"hold": name, "folder": str(folder), "files": [str(file) for file in files]}
        refused = (await self._ask("held", name, request))["refused"]
        return tuple(Path(file) for file in msgspec.convert(refused, list[str]))

    def started(self, name: str, pid: int) -> None:
        """Tells which process leads the attempt."""
        if name in self._held:
            self._send({"started": name, "pid": pid})

    async def release(self, name: str) -> Broken | None:
        """Ends the guarding, once no process of the attempt is left. Says whether it had written to an input."""
        if name not in self._held:
            return None
        self._held.discard(name)
        answer = await self._ask("released", name, {"release": name})
        broken = msgspec.convert(answer, Broken)
        return broken if broken.path else None

    async def close(self) -> None:
        """Lets the guard go; it ends whatever it still guards."""
        self._held.clear()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        code = f"{_START}main({theirs.fileno()}, {os.getpid()})"
        arguments = [sys.executable, "-S", "-E", "-I", "-c", code, str(_ROOT)]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns once the program is loaded
                    arguments,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                    cwd="/",
                    env={},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            except OSError as error:
                ours.close()
                raise UnavailableError(f"the guard of linked inputs cannot be started: {error}") from error
        self._known.add(self._process.pid)
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
        self._listening = asyncio.create_task(self._listen(reader, self._writer, self._process), name="leases")

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: subprocess.Popen[bytes]
    ) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    self._hear(msgspec.json.decode(line, type=dict[str, object]))
        finally:
            self._writer = None
            writer.close()
            self._lose()
            await asyncio.shield(asyncio.to_thread(process.wait))
            self._known.discard(process.pid)

    def _hear(self, message: dict[str, object]) -> None:
        if "broken" in message:
            self._on_broken(str(message["broken"]), msgspec.convert(message, Broken))
            return
        kind = next(iter(message))
        answer = self._answers.pop((kind, str(message[kind])), None)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _lose(self) -> None:
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(UnavailableError("the guard of linked inputs ended; the attempt is made again"))
        held, self._held = self._held, set()
        for name in held:
            self._on_broken(name, None)

    async def _ask(self, kind: str, name: str, request: Mapping[str, object]) -> dict[str, object]:
        answer: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self._answers[kind, name] = answer
        self._send(request)
        return await answer

    def _send(self, message: Mapping[str, object]) -> None:
        if self._writer is None:
            raise UnavailableError("the guard of linked inputs ended; the attempt is made again")
        self._writer.write(msgspec.json.encode(message) + b"\n")
