"""The blobs of an attempt that runs elsewhere: what the dispatcher gives its handler, and how that opens them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import IonError, UnavailableError, UnsupportedError
from ion.handler.granting import grant, longest_s
from ion.ports.blobs import Blobs, Grant
from ion.ports.executor import Assignment

ASSIGNMENT, BLOBS = "assignment.json", "blobs.json"
"""The files that a handler in a place of its own is given."""


class Opening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What opens the blobs: a grant of what the attempt needs or, where the store cannot narrow, the store's own
    settings, with their secrets. A secret either way.
    """

    grant: Grant | None = None
    store: ObjectsSettings | None = None

    def __repr__(self) -> str:
        return "Opening('***')"


async def opening(blobs: Blobs, settings: Any, assignment: Assignment) -> tuple[bytes, datetime]:
    """The content of `blobs.json` for an attempt, and until when it is good.

    Args:
        blobs: The store, open.
        settings: Its own settings, for one that cannot narrow.
        assignment: The attempt.

    Raises:
        UnsupportedError: the blobs are files of this host. UnavailableError: whoever issues grants is away.
    """
    if not isinstance(settings, ObjectsSettings):
        raise UnsupportedError(
            "its blobs are files of this host, which a pod or a task elsewhere cannot reach: set `blobs` to an object "
            "store (az://, s3:// or gs://)"
        )
    narrows = blobs.guarantees.narrows_reads or blobs.guarantees.narrows_writes
    if not narrows:
        lasts = datetime.now(UTC) + timedelta(seconds=longest_s(assignment))
        return msgspec.json.encode(Opening(store=_portable(settings))), lasts
    granted = await grant(blobs, assignment)
    return msgspec.json.encode(Opening(grant=granted)), granted.ends_at


def given(files: Path) -> Assignment:
    """The attempt of a handler that was given these. Raises UnavailableError: it, or what opens its blobs, is not here,
    or another version's.
    """
    _blobs(files)
    try:
        return msgspec.json.decode(_read(files / ASSIGNMENT), type=Assignment)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{files / ASSIGNMENT} cannot be read by this version of Ion: {error}") from error


@asynccontextmanager
async def opened(files: Path) -> AsyncIterator[Blobs]:
    """Its blobs, by what it is given now. Raises UnavailableError: that they do not open is no fault of the job."""
    async with AsyncExitStack() as stack:
        try:
            blobs = await stack.enter_async_context(_blobs(files))
        except IonError as error:
            raise UnavailableError(str(error)) from error
        yield blobs


def _blobs(files: Path) -> Blobs:
    """Not yet open. Raises UnavailableError."""
    try:
        return _opening(msgspec.json.decode(_read(files / BLOBS), type=Opening))
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{BLOBS} cannot be read by this version of Ion: {error}") from error
    except IonError as error:
        raise UnavailableError(str(error)) from error


def _opening(found: Opening) -> Blobs:
    if found.grant is not None:
        from ion.adapters.blobs.objects_narrow import NarrowBlobs

        return NarrowBlobs(found.grant)
    if found.store is not None:
        from ion.adapters.blobs.objects import ObjectBlobs

        return ObjectBlobs(found.store)
    raise UnavailableError(f"{BLOBS} opens nothing: neither a grant nor a store is in it")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnavailableError(f"the handler was not given {error.filename}: {error.strerror}") from error


def _portable(settings: ObjectsSettings) -> ObjectsSettings:
    """With the authority's certificates themselves in the place of their file's name."""
    return msgspec.structs.replace(settings, ca=settings.authority())
