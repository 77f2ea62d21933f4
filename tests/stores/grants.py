"""A store that can grant, and what a thief would do with a grant."""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import obstore
import pytest
from tests.stores.seaweed import Seaweed
from tests.stores.server import ObjectServer

from ion.adapters.blobs import objects_client
from ion.adapters.blobs.objects_grants import Ring
from ion.adapters.blobs.objects_settings import MIB, ObjectsSettings
from ion.ports.blobs import Blobs, Grant

BELOW = "job/1/"
LARGE = 12 * MIB + 17
"""Bytes: three parts."""


def place(server: ObjectServer, port: int = 0) -> ObjectsSettings:
    """A fresh place of a store that can grant, whose requests are soon not repeated any more."""
    settings = server.fresh(
        f"t-{uuid.uuid4().hex}/at" if isinstance(server, Seaweed) else f"t-{uuid.uuid4().hex}", port
    )
    settings = server.role(settings) if isinstance(server, Seaweed) else settings
    return msgspec.structs.replace(settings, retries=2, retry_for_s=60.0)


def ring(grant: Grant) -> Ring:
    return msgspec.convert(grant.content, Ring)


def client(grant: Grant, credential: dict[str, str]) -> Any:
    """The client as whoever stole a credential of the grant would use it: none of Ion's adapters between."""
    settings = msgspec.structs.replace(ring(grant).settings, **credential)
    return objects_client.made(settings)


def refused(attempt: Callable[..., object], *given: Any, **named: Any) -> None:
    """The server says no; that the blob is not there, or anything else, is not enough."""
    with pytest.raises((OSError, obstore.exceptions.BaseError)) as caught:
        attempt(*given, **named)
    text = str(caught.value)
    assert "403 Forbidden" in text or "AccessDenied" in text or 'code: "403"' in text, text


def narrowing(blobs: Blobs) -> tuple[bool, bool]:
    return blobs.guarantees.narrows_reads, blobs.guarantees.narrows_writes


def listed(store: Any, folder: str | None) -> object:
    return obstore.list(store, folder).collect()
