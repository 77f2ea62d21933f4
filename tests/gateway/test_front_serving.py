"""The front API over a real socket: streams, clients that stall or leave, and a graceful end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from tests.ports import free_port

from ion.config.settings import Front
from ion.errors import UnavailableError
from ion.gateway.front import front_api
from ion.gateway.serve import bound, serving
from ion.management.spool import Spool, clear

if TYPE_CHECKING:
    from tests.gateway.conftest import Place

PATIENCE_S = 120.0
MEGABYTE = bytes(1024 * 1024)
FORM = "POST /events/photo HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
FILE = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n'


@asynccontextmanager
async def served(place: "Place", **changes: object) -> AsyncIterator[int]:
    settings = msgspec.structs.replace(Front(), **changes)
    app = front_api(ledger=place.ledger, blobs=place.blobs, settings=settings, spool=place.spool)
    with bound("127.0.0.1", free_port()) as listening:
        async with serving(app, listening, stop_s=1) as port:
            yield port


def talking(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another task brings about, for a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  folders on disk raise no event
            await asyncio.sleep(0.005)


async def talk(port: int, work: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]) -> bytes:
    """A client of the bare protocol; it closes the connection when `work` is done."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await work(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_large_file_is_streamed_to_the_store(place: "Place") -> None:
    """An upload much larger than one message arrives whole, by a chunked request without a length."""

    async def body() -> AsyncIterator[bytes]:
        yield FILE
        for _ in range(40):
            yield MEGABYTE
        yield b"\r\n--B--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=B"}
    async with served(place) as port, talking(port) as client:
        answer = await client.post("/events/photo", content=body(), headers=headers)
    assert answer.status_code == 200
    (file,) = (await place.event()).files
    assert (file.path, file.size) == ("a.bin", 40 * len(MEGABYTE))
    assert place.spooled() == []


async def test_a_length_that_is_too_large_is_refused_unread(place: "Place") -> None:
    """By its Content-Length alone a request is answered 413, before a byte of the body is sent."""

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"{FORM}Content-Length: 99999\r\n\r\n".encode())
        return await reader.readline()

    async with served(place, max_body=1000) as port:
        assert b" 413 " in await talk(port, work)


async def test_a_request_without_a_length_is_counted(place: "Place") -> None:
    """A chunked request is cut off at the limit, and what it brought is gone."""

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"{FORM}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in (FILE, bytes(4000)):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        return await reader.readline()

    async with served(place, max_body=2000) as port:
        assert b" 413 " in await talk(port, work)
        await until(lambda: place.spooled() == [])
    assert await place.jobs() == ()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(place: "Place") -> None:
    """When the connection breaks during an upload, the spool is cleared and no event is raised."""

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"{FORM}Content-Length: 9000000\r\n\r\n".encode() + FILE + MEGABYTE)
        await until(lambda: bool(place.spooled()))
        return b""

    async with served(place) as port:
        await talk(port, work)
        await until(lambda: place.spooled() == [])
    assert await place.jobs() == ()


async def test_a_client_that_stalls_is_sent_away(place: "Place") -> None:
    """A client that stops sending for longer than `stall_s` gets 408, and what it sent is gone."""

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"{FORM}Content-Length: 9000000\r\n\r\n".encode() + FILE)
        return await reader.readline()

    async with served(place, stall_s=0.05) as port:
        assert b" 408 " in await talk(port, work)
        await until(lambda: place.spooled() == [])


async def test_an_upload_is_cut_off_when_the_server_stops(place: "Place") -> None:
    """Stopping does not wait for ever for a client, and the unfinished upload leaves nothing."""

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(f"{FORM}Content-Length: 9000000\r\n\r\n".encode() + FILE)
        await until(lambda: bool(place.spooled()))
        uploading.set()
        return await reader.read()

    uploading = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        async with served(place) as port:
            group.create_task(talk(port, work))
            await uploading.wait()
        await until(lambda: place.spooled() == [])
    assert await place.jobs() == ()


async def test_serving_leaves_signals_to_its_host(place: "Place") -> None:
    """The handlers of the process are the same before, during and after."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with served(place) as port, talking(port) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(ConnectionRefusedError):
        await talk(port, lambda reader, writer: reader.read())


async def test_a_port_that_was_served_is_free_again(place: "Place") -> None:
    """Serving lets go of its port, also when it is ended by a cancellation."""
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with served(place) as port:
            ready.set_result(port)
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    port = await ready
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with bound("127.0.0.1", port) as listening:
        assert listening.getsockname()[1] == port


async def test_a_port_that_is_taken_is_told(place: "Place") -> None:
    """The error names the address and the setting that chooses another."""
    async with served(place) as port:
        with pytest.raises(UnavailableError, match=rf"127.0.0.1:{port}.*front.port"), bound("127.0.0.1", port):
            pass


HOLDING = """
import asyncio, sys
from pathlib import Path
from typing import TYPE_CHECKING
from ion.management.spool import Spool

async def main():
    async with Spool(Path(sys.argv[1])).open() as folder:
        (folder / "0").write_bytes(b"half an upload")
        print(folder, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_uploads_of_a_killed_gateway_are_cleared(tmp_path: Path) -> None:
    """A folder goes when its process is dead, and not before; a new process clears it with its first upload."""
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        clear(tmp_path, settled_s=0)
        assert (folder / "0").exists()
        process.kill()
    clear(tmp_path, settled_s=3600)
    assert folder.exists()
    os.utime(folder, (time.time() - 7200,) * 2)

    async def upload() -> None:
        async with Spool(tmp_path).open() as fresh:
            left.extend({*listed()} - {fresh})

    def listed() -> list[Path]:
        return list(tmp_path.iterdir())

    left: list[Path] = []
    asyncio.run(upload())
    assert (left, listed()) == ([], [])
