"""An event with its files, as a stream: first the event, then for each file its name and its pieces, at last the end.

The end is said, not just reached: a client that dies in the middle may look as one that is done.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from ion.errors import InvalidError
from ion.management.events import RootFile
from ion.management.root_files import check_files
from ion.management.rpc.ion_v1_pb2 import EventsCreateRequest
from ion.management.rpc.methods import PIECE_MOST
from ion.management.rpc.translation import codec_of
from ion.management.spool import full, in_thread
from ion.management.verbs.events import NewEvent

FILES_MOST = 10_000
"""Files of one upload: each is a file on disk until the event is raised."""


async def receive(requests: AsyncIterator[bytes], folder: Path) -> tuple[NewEvent, Sequence[RootFile]]:
    """Takes in an upload; the files lie in `folder` then, given up to whoever raises the event.

    Raises:
        InvalidError: it is not in that order. UnavailableError: the disk is full.
    """
    event: NewEvent | None = None
    ended = False
    files: list[RootFile] = []
    target: BinaryIO | None = None
    try:
        async for raw in requests:
            part = _part(raw)
            match None if ended else part.WhichOneof("part"):
                case "event" if event is None:
                    event = codec_of(NewEvent).read(part.event)
                case "file" if event is not None:
                    files.append(_named(part.file, files, folder))
                    if target is not None:
                        await in_thread(target.close)
                    target = files[-1].file.open("xb")
                case "content" if target is not None:
                    await in_thread(target.write, part.content)
                case "end" if event is not None:
                    ended = True
                case _:
                    raise InvalidError(
                        f"the upload is out of order at its part '{part.WhichOneof('part')}': send the event once and "
                        "first, then for each file its name and its pieces, at last the end"
                    )
    except OSError as error:
        raise full(folder, error) from error
    finally:
        if target is not None:
            target.close()
    if event is None or not ended:
        raise InvalidError("the upload broke off: send the event, its files, and at last the end")
    check_files(files)
    return event, files


def _part(raw: bytes) -> EventsCreateRequest:
    try:
        return EventsCreateRequest.FromString(raw)
    except DecodeError as error:
        raise InvalidError(f"a part of the upload is no ion.v1.EventsCreateRequest: {error}") from error


def _named(name: str, files: Sequence[RootFile], folder: Path) -> RootFile:
    if len(files) >= FILES_MOST:
        raise InvalidError(f"an event cannot bring more than {FILES_MOST:,} files this way: pack them into fewer")
    check_files([file := RootFile(name=name, file=folder / str(len(files)), temporary=True)])
    return file


async def parts(event: NewEvent, files: Sequence[RootFile]) -> AsyncGenerator[EventsCreateRequest]:
    """An upload, piece by piece. Raises InvalidError: a file cannot be read."""
    first = EventsCreateRequest()
    codec_of(NewEvent).fill(event, first.event)
    first.event.SetInParent()
    yield first
    for file in files:
        yield EventsCreateRequest(file=file.name)
        try:
            with file.file.open("rb") as source:
                while piece := await in_thread(source.read, PIECE_MOST):
                    yield EventsCreateRequest(content=piece)
        except OSError as error:
            raise InvalidError(f"the file {file.file} cannot be read: {error.strerror}") from error
    yield EventsCreateRequest(end=True)
