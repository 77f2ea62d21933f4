"""The blobs of an attempt that runs elsewhere: what the dispatcher gives its handler, and how that opens them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.errors import UnavailableError, UnsupportedError
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


def opened(raw: bytes) -> Blobs:
    """The blobs that `blobs.json` opens, not yet open. Raises UnavailableError for what another version wrote."""
    try:
        found = msgspec.json.decode(raw, type=Opening)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{BLOBS} cannot be read by this version of Ion: {error}") from error
    if found.grant is not None:
        from ion.adapters.blobs.objects_narrow import NarrowBlobs

        return NarrowBlobs(found.grant)
    if found.store is not None:
        from ion.adapters.blobs.objects import ObjectBlobs

        return ObjectBlobs(found.store)
    raise UnavailableError(f"{BLOBS} opens nothing: neither a grant nor a store is in it")


def given(files: Path) -> tuple[Assignment, Blobs]:
    """What a handler was given: the attempt, and its blobs, not yet open. Raises UnavailableError."""
    try:
        assignment = msgspec.json.decode((files / ASSIGNMENT).read_bytes(), type=Assignment)
        return assignment, opened((files / BLOBS).read_bytes())
    except OSError as error:
        raise UnavailableError(f"the handler was not given {error.filename}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"{files / ASSIGNMENT} cannot be read by this version of Ion: {error}") from error


def _portable(settings: ObjectsSettings) -> ObjectsSettings:
    """With the authority's certificates themselves in the place of their file's name."""
    return msgspec.structs.replace(settings, ca=settings.authority())
