"""Reading the log of one pod, container after container, as it grows and to its end.

A container that ended soon is read once. One that runs on is followed, and when it has ended the rest is read: a stream
that is followed learns of the end a second late. Each line comes with the node's time, by which reading goes on after a
connection broke.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from ion.adapters.executors.backoff import Backoff
from ion.adapters.executors.kubernetes.client import LINE_MOST, Document, Kubernetes
from ion.adapters.executors.kubernetes.containers import MODULE
from ion.adapters.executors.kubernetes.status import CONTAINERS, grace_s, is_going, is_over, state_of
from ion.errors import InvalidError, IonError, NotFoundError

LATER_S = {MODULE: 1.0}
"""After how many seconds a running container is followed, unless somebody wants to see it at once; 3 for the others."""
ENDING_S = 30.0
"""How long the rest of an ended container is tried to be read before it counts as gone with its node; and how long
beyond its pod's grace one may go on that its node has ended without saying so.
"""
LAST_S = 5.0
"""How long the stream of a container that has ended may take to end itself."""
_PIECE = 16 * 1024
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d) ")
_LOG = logging.getLogger(__name__)

Take = Callable[[bytes, bytes], None]
"""Is handed the time and the text of each line, without its end."""


class Position:
    """How far a container's log was read: the time of the last line, and how many lines in a row had that very time.

    Nodes' clocks may be set back, so times decide only where reading begins again after it broke off.
    """

    def __init__(self) -> None:
        self.stamp, self.lines = b"", 0
        self._again = -1

    def begin(self) -> None:
        """The log is read again, from about the last line on."""
        self._again = 0 if self.stamp else -1

    def is_new(self, stamp: bytes) -> bool:
        """Moves on, if that line was not read before."""
        if self._again >= 0:
            self._again += stamp == self.stamp
            if stamp < self.stamp or (stamp == self.stamp and self._again <= self.lines):
                return False
            self._again = -1
        self.lines = self.lines + 1 if stamp == self.stamp else 1
        self.stamp = stamp
        return True


class PodReader:
    """Reads the log of one pod. `see` tells it how the pod stands, `hurry` that somebody wants to see it now."""

    def __init__(self, api: Kubernetes, path: str, pod: Document, take: Take) -> None:
        self._api, self._path, self._pod, self._take = api, path, pod, take
        self._gone = False
        self._hurried = False
        self._moved = asyncio.Event()
        self.attached = asyncio.Event()
        """Set once the running module's log is open, so that its last words will be read whatever befalls its pod."""

    def see(self, pod: Document | None) -> None:
        """None: it is there no more."""
        self._gone = pod is None
        self._pod = pod or self._pod
        self._moved.set()

    def hurry(self) -> None:
        self._hurried = True
        self._moved.set()

    async def run(self) -> str:
        """Reads to the end of all containers.

        Returns:
            A sentence about what could not be read; empty if all was.
        """
        lacks = ""
        for container in CONTAINERS:
            while not (word := state_of(self._pod, container)[0]) or word == "waiting":
                if self._is_past:
                    break
                await self._move()
            if word in ("running", "terminated"):
                lacks = await self._read(container) or lacks
        return lacks

    @property
    def _is_past(self) -> bool:
        return self._gone or is_over(self._pod)

    async def _read(self, container: str) -> str:
        position, whole = Position(), False
        if not self._has_ended(container):
            await self._move_within(LATER_S.get(container, 3.0), lambda: self._hurried or self._has_ended(container))
        while not self._has_ended(container):
            whole = await self._follow(container, position)
        lacks = await self._rest(container, position)
        return "" if whole else lacks

    def _has_ended(self, container: str) -> bool:
        return state_of(self._pod, container)[0] != "running" or self._is_past

    async def _follow(self, container: str, position: Position) -> bool:
        """Until the container has ended, or the stream has. Whether the stream came to its own end."""
        reading = asyncio.create_task(self._lines(container, position, follow=True), name=f"log of {container}")
        try:
            while not reading.done() and not self._has_ended(container):
                self._moved.clear()
                moving = asyncio.create_task(self._moved.wait())
                await asyncio.wait({reading, moving}, return_when=asyncio.FIRST_COMPLETED)
                moving.cancel()
            if self._gone or is_over(self._pod) or is_going(self._pod):
                # Nothing more than this stream can be had of it: what ends with its pod is cleared away at once.
                ended = state_of(self._pod, container)[0] == "terminated"
                await asyncio.wait({reading}, timeout=LAST_S if ended else grace_s(self._pod) + ENDING_S)
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})
        if reading.cancelled():
            return False
        error = reading.exception()
        if error is not None and not isinstance(error, IonError):
            raise error
        await self._move_within(1.0, lambda: self._has_ended(container))
        return error is None

    async def _rest(self, container: str, position: Position) -> str:
        """What is left of a container that has ended. Returns a sentence if it cannot be had."""
        backoff, loop = Backoff(most_s=2.0), asyncio.get_running_loop()
        until = loop.time() + ENDING_S
        while True:
            try:
                await self._lines(container, position, follow=False)
            except (NotFoundError, InvalidError) as error:  # its pod or its container was cleared away
                return f"the end of the log of {container} is gone: {error}"
            except IonError as error:
                if loop.time() > until:
                    return f"the end of the log of {container} cannot be read: {error}"
                await asyncio.sleep(backoff.next_s(error))
            else:
                return ""

    async def _lines(self, container: str, position: Position, *, follow: bool) -> None:
        params = {"container": container, "timestamps": "true"}
        if position.stamp:
            params["sinceTime"] = f"{position.stamp[:19].decode()}{position.stamp[29:].decode() or 'Z'}"
        path = f"{self._path}/{self._pod['metadata']['name']}/log"
        position.begin()
        if follow:
            async with self._api.stream(path, {**params, "follow": "true"}) as lines:
                if container == MODULE:
                    self.attached.set()
                await self._take_all(lines, position)
        else:
            async with aclosing(self._api.text(path, params)) as lines:  # type: ignore[type-var] # an async generator
                await self._take_all(lines, position)

    async def _take_all(self, lines: AsyncIterator[bytes], position: Position) -> None:
        """Every line begins with its time, but pieces of overlong ones, and what the node says in the log's place.

        At the end of a log that says that the container was cleared away. Alone it says that nothing can be read.
        """
        any_read = cut = False
        async for line in lines:
            stamp, _, text = line.partition(b" ")
            if _STAMP.match(line):
                any_read = True
                if position.is_new(stamp):
                    self._take(stamp, joined(text))
            elif cut:
                self._take(position.stamp, line)
            elif not any_read and line:
                raise NotFoundError(line.decode(errors="replace"))
            cut = len(line) > LINE_MOST

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _move_within(self, seconds: float, wanted: Callable[[], bool]) -> None:
        """Until it is wanted, or time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not wanted():
                    await self._move()
        except TimeoutError:
            return


def joined(text: bytes) -> bytes:
    """A long line without the times that old kubelets put between its pieces of 16 KiB."""
    if len(text) <= _PIECE:
        return text
    pieces, rest = [text[:_PIECE]], text[_PIECE:]
    while rest:
        if found := _STAMP.match(rest):
            rest = rest[found.end() :]
        pieces.append(rest[:_PIECE])
        rest = rest[_PIECE:]
    return b"".join(pieces)


def shown_time(stamp: bytes) -> bytes:
    """A node's time as logs show it: UTC, to the millisecond, a space behind it."""
    if stamp.endswith(b"Z") and len(stamp) > 24:
        return stamp[:23] + b"Z "
    try:
        when = datetime.fromisoformat(stamp.decode()).astimezone(UTC)
    except ValueError:
        when = datetime.now(UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z ").encode()
