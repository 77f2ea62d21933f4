"""The log of one attempt: the logs of its pods, container after container, in a bounded file on this host."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from ion.adapters.executors.growing import GrowingLog
from ion.adapters.executors.kubernetes.client import Document, Kubernetes
from ion.adapters.executors.kubernetes.containers import MODULE
from ion.adapters.executors.kubernetes.reading import PodReader, shown_time
from ion.adapters.executors.kubernetes.status import state_of
from ion.errors import IonError
from ion.ports.blobs import Blobs

_ATTACH_S = 5.0
_LOG = logging.getLogger(__name__)


class AttemptLog(GrowingLog):
    """Reads the logs of an attempt's pods into `file`, at most `limit` bytes of them, without the `secrets`.

    `read` is called when all that can be had of a pod was read.
    """

    def __init__(
        self,
        api: Kubernetes,
        path: str,
        file: Path,
        *,
        limit: int,
        secrets: Sequence[str],
        read: Callable[[], None],
    ) -> None:
        super().__init__(file, limit=limit, secrets=secrets)
        self._api, self._path, self._read = api, path, read
        self._readers: dict[str, PodReader] = {}
        self._reading: asyncio.Task[str] | None = None
        self._hurried = False

    def see(self, pods: Sequence[Document]) -> None:
        """The pods of the attempt as they stand now; one that is not among them any more is gone."""
        known = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid, pod in known.items():
            if uid not in self._readers:
                self._begin(uid, pod)
        for uid, reader in self._readers.items():
            reader.see(known.get(uid))

    @property
    def is_read(self) -> bool:
        """Whether all that can be had of its pods so far was read."""
        return self._reading is not None and self._reading.done()

    def hurry(self) -> None:
        """Somebody wants to see it as it grows."""
        self._hurried = True
        for reader in self._readers.values():
            reader.hurry()

    async def attach(self, pod: Document) -> None:
        """Until the log of a module that runs is open, or cannot be opened soon."""
        self.hurry()
        if state_of(pod, MODULE)[0] == "running":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ATTACH_S):
                    await self._readers[pod["metadata"]["uid"]].attached.wait()

    async def complete(self) -> str:
        """Waits until all is read, and closes the file; its last line says what is missing, if anything is.

        Returns:
            A sentence about a file that could not be written, else nothing.
        """
        if self._reading is not None and (lacks := await asyncio.shield(self._reading)):
            self.say(lacks)
        return self._shut()

    async def close(self) -> None:
        """Stops reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        self._shut()

    def say(self, sentence: str) -> None:
        """Adds a line of Ion's own."""
        self._take(b"", f"[ion] {sentence}".encode())

    async def stream(self, start: int) -> AsyncIterator[bytes]:
        """What there is from byte `start` on. Raises NotFoundError if nothing is."""
        self.hurry()
        async for piece in self._written(start):
            yield piece

    def _begin(self, uid: str, pod: Document) -> None:
        self._ready()
        reader = self._readers[uid] = PodReader(self._api, self._path, pod, self._take)
        if self._hurried:
            reader.hurry()
        self._reading = asyncio.create_task(
            _in_turn(self._reading, reader, self._say_of(pod)), name=f"log of {pod['metadata']['name']}"
        )
        self._reading.add_done_callback(lambda _: self._read())

    def _say_of(self, pod: Document) -> Callable[[], None]:
        """A second pod of an attempt is announced."""
        if len(self._readers) == 1:
            return lambda: None
        return lambda: self.say(f"Kubernetes replaced the pod; this is {pod['metadata']['name']}")

    def _take(self, stamp: bytes, text: bytes) -> None:
        self._ready().add(shown_time(stamp) + self._mask.feed(text) + self._mask.flush() + b"\n")


async def _in_turn(before: "asyncio.Task[str] | None", reader: PodReader, begin: Callable[[], None]) -> str:
    """Reads a pod after the one before it."""
    lacks = "" if before is None else await before
    begin()
    return await reader.run() or lacks


async def drop_pieces(blobs: Blobs, prefix: str) -> None:
    """The whole log is stored; what is left of its pieces only takes room."""
    try:
        await blobs.delete(prefix)
    except IonError as error:
        _LOG.warning("the pieces of a log at %s cannot be deleted and stay: %s", prefix, error)
