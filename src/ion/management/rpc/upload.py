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


class Upload:
    """One that comes in. Its files are taken in only when they are asked for: once the event may be raised."""

    def __init__(self, requests: AsyncIterator[bytes], folder: Path) -> None:
        self._requests, self._folder = requests, folder
        self._files: list[RootFile] = []

    async def event(self) -> NewEvent:
        """Its beginning. Raises InvalidError where it has another."""
        async for raw in self._requests:
            part = _part(raw)
            if part.WhichOneof("part") != "event":
                raise _disorder(part)
            event: NewEvent = codec_of(NewEvent).read(part.event)
            return event
        raise _broken_off()

    async def files(self) -> Sequence[RootFile]:
        """The rest of it; the files lie in the folder then, given up to whoever raises the event.

        Raises:
            InvalidError: it is not in that order. UnavailableError: the disk is full.
        """
        target: BinaryIO | None = None
        ended = False
        try:
            async for raw in self._requests:
                part = _part(raw)
                match None if ended else part.WhichOneof("part"):
                    case "file":
                        self._files.append(_named(part.file, self._files, self._folder))
                        if target is not None:
                            await in_thread(target.close)
                        target = self._files[-1].file.open("xb")
                    case "content" if target is not None:
                        await in_thread(target.write, part.content)
                    case "end":
                        ended = True
                    case _:
                        raise _disorder(part)
        except OSError as error:
            raise full(self._folder, error) from error
        finally:
            if target is not None:
                target.close()
        if not ended:
            raise _broken_off()
        check_files(self._files)
        return self._files


def _disorder(part: EventsCreateRequest) -> InvalidError:
    return InvalidError(
        f"the upload is out of order at its part '{part.WhichOneof('part')}': send the event once and first, then for "
        "each file its name and its pieces, at last the end"
    )


def _broken_off() -> InvalidError:
    return InvalidError("the upload broke off: send the event, its files, and at last the end")


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
