"""News of what a transaction changed, to listeners in this process and in others.

Within the process a listener is an event and the kinds it has not told yet. Between processes news travels as unix
datagrams: each open database binds one socket in a folder that follows from the file's real path, and after a commit
sends one byte, the kinds that changed, to every other socket there. Nothing is ever waited for. A datagram is a hint
that the file has news, never the news itself, so losing one with its sender loses nothing but time.

A socket's name is random and never used again, so whoever finds nobody behind one may remove it.
"""

import asyncio
import hashlib
import os
import socket
import stat
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ion.errors import UnavailableError, UnsupportedError
from ion.ports.ledger import Changes, Listener

_ANY = Changes.ANY.value
_RACY_NS = 50_000_000
_RETRY_S = 0.02
_BIND_TRIES = 20


class LocalListener(Listener):
    """A listener fed from this process's loop."""

    def __init__(self, kinds: Changes) -> None:
        self._kinds = kinds.value
        self._news = 0
        self._event = asyncio.Event()

    def tell(self, changes: int) -> None:
        self._news |= changes & self._kinds
        if self._news:
            self._event.set()

    async def wait(self, timeout_s: float | None = None) -> Changes:
        timer = None
        if not self._news and timeout_s is not None:
            timer = asyncio.get_running_loop().call_later(timeout_s, self._event.set)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._event.clear()
        news, self._news = self._news, 0
        return Changes(news)


class Wakeup:
    """The listeners of one database, and its socket where the database is a file."""

    def __init__(self, path: Path | None, folder: Path | None = None) -> None:
        self._folder = None if path is None else folder or socket_folder(path)
        self._listeners: dict[LocalListener, None] = {}  # told in the order in which they came
        self._post: _Post | None = None

    def open(self) -> None:
        if self._folder is not None:
            self._post = _Post(self._folder, self._tell)

    def close(self) -> None:
        if self._post is not None:
            self._post.close()
            self._post = None

    @property
    def shared(self) -> bool:
        """Whether other processes have the file open."""
        return self._post is not None and self._post.crowded

    def announce(self, changes: Changes) -> None:
        """Tells listeners everywhere; never blocks."""
        self._tell(changes.value)
        if self._post is not None:
            self._post.send(changes.value)

    @asynccontextmanager
    async def listen(self, kinds: Changes) -> AsyncIterator[Listener]:
        listener = LocalListener(kinds)
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            del self._listeners[listener]

    def _tell(self, changes: int) -> None:
        for listener in self._listeners:
            listener.tell(changes)


class _Post:
    """A bound socket: receives in the running loop, sends to its neighbours."""

    def __init__(self, folder: Path, receive: Callable[[int], None]) -> None:
        self._folder = folder
        self._place = str(folder)
        self._name = uuid.uuid4().hex
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._neighbours: set[str] = set()
        self._listed_ns = -1
        self._owed: dict[str, int] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._socket = self._bound()
        self._loop.add_reader(self._socket, self._readable)

    def _bound(self) -> socket.socket:
        """A socket in the folder. The last neighbour to leave takes the folder along, so that may want another try."""
        for _ in range(_BIND_TRIES):
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                self._bind(fresh)
            except FileNotFoundError:
                fresh.close()
            except BaseException:
                fresh.close()
                raise
            else:
                return fresh
        raise UnavailableError(f"the folder {self._folder} vanishes again and again; check what removes it")

    def _bind(self, fresh: socket.socket) -> None:
        """Binds under a name nobody looks at and renames: between the two steps inside bind(2) the socket would look
        dead to a neighbour, who would remove it.
        """
        hidden = private_folder(self._folder) / f".{self._name}"
        try:
            fresh.bind(str(hidden))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnavailableError(f"cannot make a socket in {self._folder} ({error}); check that folder") from error
        hidden.rename(self._folder / self._name)

    @property
    def crowded(self) -> bool:
        self._look_round()
        return bool(self._neighbours)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        (self._folder / self._name).unlink(missing_ok=True)
        self._socket.close()
        with suppress(OSError):  # others are still there, or it is gone already
            self._folder.rmdir()

    def send(self, changes: int) -> None:
        self._look_round()
        for name in tuple(self._neighbours):
            self._send_one(name, changes)

    def _look_round(self) -> None:
        """Lists the folder where it changed.

        A folder's time has the kernel's coarse tick: a listing made within a few ticks of it may have missed a change
        that left the same time, so it is made again. A folder that somebody removed has no neighbours.
        """
        now = time.time_ns()
        try:
            modified = os.stat(self._place).st_mtime_ns  # noqa: PTH116 - at every commit
            if modified == self._listed_ns:
                return
            names = {path.name for path in self._folder.iterdir()}
        except FileNotFoundError:
            modified, names = -1, set()
        self._listed_ns = modified if now - modified > _RACY_NS else -1
        self._neighbours = {name for name in names if not name.startswith(".")} - {self._name}

    def _send_one(self, name: str, changes: int) -> None:
        news = changes | self._owed.pop(name, 0)
        try:
            self._socket.sendto(bytes([news]), str(self._folder / name))
        except BlockingIOError:  # its queue is full; what is in there may be of other kinds
            self._owed[name] = news
            self._retry = self._retry or self._loop.call_later(_RETRY_S, self._pay)
        except ConnectionRefusedError:  # its process died
            (self._folder / name).unlink(missing_ok=True)
            self._neighbours.discard(name)
        except FileNotFoundError:
            self._neighbours.discard(name)

    def _pay(self) -> None:
        self._retry = None
        for name in tuple(self._owed):
            self._send_one(name, 0)

    def _readable(self) -> None:
        news = 0
        for _ in range(64):
            try:
                news |= self._socket.recv(1)[0] & _ANY
            except BlockingIOError:
                break
        if news:
            self._receive(news)


def socket_folder(path: Path) -> Path:
    """Where the sockets of a database lie.

    Short, since a socket's path has at most 107 bytes; the same whatever the environment of a process, so that all of a
    user's find each other.
    """
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
    return Path("/tmp") / f"ion-{os.getuid()}" / digest  # noqa: S108  checked to be ours in private_folder


def private_folder(folder: Path) -> Path:
    """Makes the folder (mode 0700) and checks that the part below /tmp is this user's.

    Raises:
        UnsupportedError: somebody else made it, and could listen.
        FileNotFoundError: it was removed meanwhile.
    """
    for part in (folder.parent, folder):
        with suppress(FileExistsError):
            part.mkdir(mode=0o700)
        found = part.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UnsupportedError(f"{part} belongs to another user, and Ion needs it; have it removed")
    return folder
