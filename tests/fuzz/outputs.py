"""Attempts in a blob store and a directory of their own on the disk, and what the real commit makes of their output."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.profile import one_sentence
from tests.handler.conftest import Attempt

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.errors import ContractError
from ion.model.event import Event
from ion.model.manifest import Manifest

SMALL, LARGE = b"small", b"large" * 60_000
"""Inputs, one that is copied into the module's directory and one that is linked."""


@asynccontextmanager
async def prepared(folder: Path) -> AsyncIterator[Attempt]:
    """An attempt in a new place, with two inputs, whose module has not written anything yet."""
    place = Path(tempfile.mkdtemp(dir=folder))
    async with FilesystemBlobs(place / "blobs", links=True) as blobs:
        (place / "work").mkdir()
        attempt = Attempt(blobs, place / "work")
        await attempt.brings("small.bin", SMALL)
        await attempt.brings("sub/large.bin", LARGE)
        await attempt.prepare()
        yield attempt
    shutil.rmtree(place)


async def committed(attempt: Attempt) -> Manifest | str:
    """The manifest, or the sentence with which everything was refused, after which nothing is visible."""
    before = held(attempt)
    try:
        return await attempt.manifest()
    except ContractError as error:
        assert held(attempt) == before
        assert await attempt.handler.find_manifest(attempt.job_id, 2) is None
        return one_sentence(error)


def held(attempt: Attempt) -> set[str]:
    """Every file and folder of the store, half-made ones included."""
    root = attempt.folder.parent / "blobs"
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def contents(attempt: Attempt, manifest: Manifest) -> dict[str, bytes]:
    """The stored files by path, each as its entry says that it is."""
    found = {}
    for file in manifest.files:
        found[file.path] = await attempt.blobs.get_bytes(file.blob)
        assert len(found[file.path]) == file.size
    return found


async def data_of(attempt: Attempt, event: Event) -> Any:
    return json.loads(await attempt.blobs.get_bytes(event.dataref)) if event.dataref else event.data
