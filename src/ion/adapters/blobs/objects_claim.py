"""Who may complete a large upload: the one that holds the claim.

Stores create a blob only where there is none if it comes in one request. The last request of an upload in parts can
carry that condition too, but the client has no way to say it. So that request is made under a claim, a small blob of
its own near the path, which is created as stores can; under it one looks whether the path is free, completes the
upload, and removes the claim. Two writers complete one after the other, and the second finds the path taken.

A claim is held for moments. Whoever finds one waits until the path is taken or the claim is gone; one that stands
unchanged for `hold_s` by the finder's own clock belongs to a dead writer, since a living one gives up by then, and is
taken over by compare-and-set. The one thing that no claim holds back is a completion whose answer was lost, and which
the store carries out later all the same; in Ion that is the same content, put by an earlier try of the same commit.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ion.errors import ExistsError

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import AzureStore, GCSStore, S3Store

LOOK_S = 0.2
"""How often a waiting writer looks."""
WRITER = "ionput"
"""The metadata that says which put stored a blob; a name that every store takes."""


class Claim:
    """The right of `writer` to complete the upload of one path; `key` is where the claim lies.

    `hold_s` is how long a holder may take from having it to the end.
    """

    def __init__(self, store: "AzureStore | GCSStore | S3Store", key: str, writer: str, hold_s: float) -> None:
        self._store, self._key, self._writer, self._hold_s = store, key, writer, hold_s
        self._seen: tuple[str | None, float] = (None, 0.0)
        self.held = False

    async def take(self, is_free: Callable[[], Awaitable[bool]]) -> None:
        """Returns once the claim is held and the path is free. Raises ExistsError where the path is taken."""
        while not self.held and not await self._created():
            if not await is_free():
                raise ExistsError("another writer was quicker")
            if not await self._inherited():
                await asyncio.sleep(LOOK_S)
        if not await is_free():
            raise ExistsError("another writer was quicker")

    async def release(self) -> None:
        """Removes the claim; that somebody did so already is fine."""
        from obstore import delete_async

        if self.held:
            self.held = False
            try:
                await delete_async(self._store, self._key)
            except FileNotFoundError:
                return

    async def _created(self) -> bool:
        self.held = await self._put("create")
        return self.held

    async def _put(self, mode: "str | UpdateVersion") -> bool:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        content = self._writer.encode()  # so that each writer's claim has a tag of its own
        try:
            await put_async(self._store, self._key, content, mode=mode, attributes={WRITER: self._writer})  # type: ignore[arg-type]
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        return True

    async def _inherited(self) -> bool:
        """Takes over what has stood unchanged for too long, or what is ours, its answer having been lost."""
        from obstore import get_async

        try:
            found = await get_async(self._store, self._key, options={"head": True})
        except FileNotFoundError:
            return False
        if found.attributes.get(WRITER) == self._writer:
            self.held = True
            return True
        tag = found.meta["e_tag"]
        if tag != self._seen[0]:
            self._seen = (tag, time.monotonic())
        if tag is None or time.monotonic() - self._seen[1] < self._hold_s:
            return False
        version: UpdateVersion = {"e_tag": tag}
        if found.meta["version"] is not None:
            version["version"] = found.meta["version"]
        self.held = await self._put(version)
        return self.held
