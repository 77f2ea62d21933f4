"""Storing a blob create-only, in one request or in parts, and knowing one's own when an answer got lost."""

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING

from ion.adapters.blobs.objects_claim import WRITER, Claim
from ion.adapters.blobs.objects_client import content_type
from ion.adapters.blobs.objects_room import Room
from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.blobs.objects_transfer import Pieces, plan, upload
from ion.errors import ExistsError, UnavailableError

if TYPE_CHECKING:
    from ion.adapters.blobs.objects_client import Store

OWN = ".ion~"
"""Begins the names of the adapter's own blobs."""
_MARGIN_S = 5.0
_DEPTH = 3
"""Folders down to an execution's."""


class Putting:
    """Puts into a store that is open. `room` is what uploads in parts take their memory from."""

    def __init__(self, store: "Store", settings: ObjectsSettings, room: Room) -> None:
        self._store, self._settings, self._room = store, settings, room
        self._hold_s = 2 * (settings.retry_for_s + settings.timeout_s)

    async def whole(self, key: str, content: bytes) -> None:
        """Stores it in one request. What the client raises comes as it is."""
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError

        attributes = _attributes(key)
        try:
            await put_async(self._store, key, content, attributes=attributes, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            writer = await self._writer(key)
            if writer is None:  # stores answer so to other conflicts too
                raise UnavailableError(f"{self._settings.url} is busy with {key!r}; retry") from error
            if writer != attributes[WRITER]:
                raise

    async def parts(self, key: str, source: int, size: int) -> None:
        """Stores an open file in parts. Raises ExistsError, InvalidError; what the client raises comes as it is."""
        if await self._writer(key) is not None:  # before a large file is carried for nothing; what decides is the claim
            raise ExistsError(f"{key!r} exists already in {self._settings.url}")
        part, under_way = plan(size, self._settings.part_size, self._room)
        attributes = _attributes(key)
        claim = Claim(self._store, self._mark(key), attributes[WRITER], self._hold_s + _MARGIN_S)

        async def is_free() -> bool:
            return await self._writer(key) is None

        async def before_end() -> None:
            await claim.take(is_free)
            limit.reschedule(asyncio.get_running_loop().time() + self._hold_s)

        try:
            async with asyncio.timeout(None) as limit:
                pieces = Pieces(source, size, before_end)
                await upload(self._store, key, pieces, attributes, part=part, under_way=under_way, room=self._room)
        except Exception:
            # The last request may have been repeated because its answer got lost, and found nothing left to do.
            if not claim.held or await self._writer(key) != attributes[WRITER]:
                raise
        finally:
            await claim.release()

    def _mark(self, key: str) -> str:
        """Where the claim of a key lies: not far down, for there a key that fits may leave no room for this one."""
        start = len(self._settings.prefix)
        folder = key[:start] + "".join(f"{part}/" for part in key[start:].split("/")[:-1][:_DEPTH])
        return f"{folder}{OWN}{hashlib.sha256(key.removeprefix(folder).encode()).hexdigest()}"

    async def _writer(self, key: str) -> str | None:
        """Which put stored the blob, "" if that is not known; None where there is none."""
        from obstore import get_async

        try:
            found = await get_async(self._store, key, options={"head": True})
        except FileNotFoundError:
            return None
        return found.attributes.get(WRITER, "")


def _attributes(key: str) -> dict[str, str]:
    return {"Content-Type": content_type(key), WRITER: uuid.uuid4().hex}
