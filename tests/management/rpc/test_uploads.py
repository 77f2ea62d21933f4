"""Events with files, by way of the wire: in pieces, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ion.dispatcher.stores import Stores
from ion.errors import InvalidError
from ion.management.access.callers import Caller
from ion.management.access.gate import guarded
from ion.management.events import RootFile
from ion.management.rpc.ion_v1_pb2 import EventsCreateRequest, NewEvent
from ion.management.rpc.remote import open_remote
from ion.management.rpc.serve import serving
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent as Asked
from ion.model.role import Grant, Role
from ion.ports.ledger import JobFilter

LARGE = 4 * 1024 * 1024
EVENT = EventsCreateRequest(event=NewEvent(type="photo"))
FILE = EventsCreateRequest(file="a.jpg")
CONTENT = EventsCreateRequest(content=b"x" * 1000)
END = EventsCreateRequest(end=True)


@pytest.fixture
async def port(local: Management, tmp_path: Path) -> AsyncIterator[int]:
    async with serving(lambda _: local, spool=tmp_path / "spool", grace_s=60.0) as made:
        yield made


@asynccontextmanager
async def uploading(port: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.stream_unary("/ion.v1.Events/Create", EventsCreateRequest.SerializeToString)


@pytest.fixture
async def upload(port: int) -> AsyncIterator[Any]:
    async with uploading(port) as made:
        yield made


def spooled(folder: Path) -> list[Path]:
    return list((folder / "spool").glob("*"))


async def raised(local: Management) -> int:
    return len((await local.jobs.page(which=JobFilter())).jobs)


async def test_an_upload_that_breaks_off_raises_nothing(local: Management, upload: Any, tmp_path: Path) -> None:
    """A client that goes away in the middle of a file leaves no event and no file, whenever that is."""
    for parts in range(1, 40):
        call = upload()
        with suppress(asyncio.CancelledError, asyncio.InvalidStateError):
            for part in (EVENT, FILE, *[CONTENT] * parts):
                await call.write(part)
            call.cancel()
            await call
    await upload(iter([EVENT, FILE, CONTENT, END]))
    assert await raised(local) == 1
    async with asyncio.timeout(120.0):
        while spooled(tmp_path):
            await local.modules.list()


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [END],
        [FILE, CONTENT, END],
        [EVENT, CONTENT, END],
        [EVENT, EVENT, END],
        [EVENT, FILE, FILE, END],
        [EVENT, END, FILE],
        [EVENT, EventsCreateRequest(), END],
        [EVENT, FILE, CONTENT],
    ],
)
async def test_an_upload_out_of_order_is_refused(
    local: Management, upload: Any, tmp_path: Path, parts: list[EventsCreateRequest]
) -> None:
    """One sentence says how it goes; nothing is raised, nothing is left."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await upload(iter(parts))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await raised(local) == 0
    assert not spooled(tmp_path)


async def test_files_without_content_are_files(local: Management, upload: Any) -> None:
    """An empty file is one; so are several, in their order."""
    names = [EventsCreateRequest(file=name) for name in ("b", "a")]
    await upload(iter([EVENT, *names, END]))
    (job,) = (await local.jobs.page(which=JobFilter())).jobs
    assert [(file.path, file.size) for file in job.event.files] == [("b", 0), ("a", 0)]


async def test_a_refused_upload_is_not_sent_to_its_end(port: int, tmp_path: Path) -> None:
    """A file's name that cannot be is told of with the server's sentence, though there was much more to send."""
    (tmp_path / "large").write_bytes(b"x" * LARGE)
    files = [RootFile(name=name, file=tmp_path / "large") for name in ("../out", *"abcdefgh")]
    async with open_remote(f"127.0.0.1:{port}") as remote:
        with pytest.raises(InvalidError, match=r"the file name '\.\./out' cannot be used"):
            await remote.events.create(event=Asked(type="photo"), files=files)
        with pytest.raises(InvalidError, match="gone cannot be read: No such file"):
            await remote.events.create(
                event=Asked(type="photo"), files=[RootFile(name="a", file=tmp_path / "gone", temporary=False)]
            )


async def test_a_message_that_is_too_large_is_refused_with_a_sentence(port: int) -> None:
    """Seventeen megabytes in one message are too much."""
    async with open_remote(f"127.0.0.1:{port}") as remote:
        with pytest.raises(InvalidError, match="too much for one message"):
            await remote.events.create(event=Asked(type="photo", data={"large": "x" * 17 * 1024 * 1024}))


async def refusal_of_the_event_alone(event_type: str, upload: Any, spool: Path) -> grpc.aio.AioRpcError:
    """The answer to a client that has sent nothing but the event, and waits to send more."""
    call = upload(timeout=120.0)
    await call.write(EventsCreateRequest(event=NewEvent(type=event_type)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert not spooled(spool)
    return refused.value


async def test_files_of_an_event_that_nobody_hears_are_not_taken_in(upload: Any, tmp_path: Path) -> None:
    """It is refused as soon as the event is there."""
    refused = await refusal_of_the_event_alone("unheard", upload, tmp_path)
    assert (refused.code(), "unheard" in str(refused.details())) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_files_of_a_caller_who_may_raise_nothing_are_not_taken_in(
    local: Management, stores: Stores, tmp_path: Path
) -> None:
    """A viewer cannot fill the disk."""
    vera = Caller(actor="vera", grants=(Grant(subject="*", role=Role.VIEWER),))
    allowed = guarded(local, vera, stores.ledger)
    async with serving(lambda _: allowed, spool=tmp_path / "spool", grace_s=60.0) as port, uploading(port) as upload:
        refused = await refusal_of_the_event_alone("photo", upload, tmp_path)
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
