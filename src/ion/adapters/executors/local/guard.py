"""The guard: a small process that keeps modules from writing to stored blobs which are linked into their inputs.

A link to a blob is the blob itself, and a mode bit does not stop root. So while a module runs, the guard holds a read
lease (fcntl F_SETLEASE) on every linked file. An open for writing or a truncate then blocks in the kernel, and the
guard is told. It finds whose process is blocked, kills that attempt's processes, waits until they are gone, and only
then lets the lease go: not a byte changes. Reading and linking go on undisturbed.

It is a process of its own because the dispatcher may die at any instruction: the guard sees its socket close, ends
every attempt it guards, and goes. It speaks lines of JSON over that socket:

    {"hold": NAME, "folder": F, "files": [...]}  →  {"held": NAME, "refused": [...]}
    {"started": NAME, "pid": P}
    {"release": NAME}                            →  {"released": NAME, "path": P, "sure": B}
                                                    {"broken": NAME, "path": P, "sure": B}
"""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ion.adapters.executors.local import family

GONE_WITHIN_S = 30.0
"""How long a killed process may take to be gone; below the 45 s for which the kernel holds a writer up."""

LOOKS, LOOK_S = 25, 0.02
"""How often, and each how long after the last, a writer is looked for who has broken a lease and does not sleep in the
kernel yet, where it is recognised. They are counted, for on a machine that is busy time goes by in which nobody moves.
"""


class Hold:
    """One attempt that is guarded. `broken` is the file it wrote to; `sure` whether it was this attempt."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.leader = 0
        self.broken = ""
        self.sure = True


class Lease:
    """A leased file, and the attempts that have it as an input, each with its own path. One descriptor serves all."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.holders: dict[str, str] = {}

    @property
    def broken(self) -> bool:
        return fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK

    def take(self) -> None:
        fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)

    def drop(self) -> None:
        fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


class Guard:
    """The guard's state and its verbs."""

    def __init__(self, dispatcher: int) -> None:
        self._dispatcher = dispatcher
        self._holds: dict[str, Hold] = {}
        self._leases: dict[tuple[int, int], Lease] = {}

    def answer(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if "hold" in message:
            return self._hold(message["hold"], message["folder"], message["files"])
        if "started" in message:
            hold = self._holds[message["started"]]
            hold.leader = message["pid"]
            if hold.broken:  # somebody opened the file before the module began: it runs on an input that is not held
                self._end(hold)
            return []
        return self._release(message["release"])

    def check(self) -> list[dict[str, Any]]:
        """Looks after every lease: ends the attempts that write to a leased file, and tells of them."""
        news = []
        for lease in [lease for lease in self._leases.values() if lease.broken]:
            guilty, sure = self._guilty(lease)
            for name in guilty:
                hold = self._holds[name]
                hold.broken, hold.sure = lease.holders[name], sure
                self._end(hold)
                self._forget(name)
                news.append({"broken": name, "path": hold.broken, "sure": sure})
            news += self._renew(lease)
        return news

    def end_all(self) -> None:
        """Ends every guarded attempt; the leases go with this process."""
        for hold in self._holds.values():
            if not hold.broken:
                self._end(hold)

    def _hold(self, name: str, folder: str, files: list[str]) -> list[dict[str, Any]]:
        self._holds[name] = Hold(folder)
        refused = [file for file in files if not self._lease(name, file)]
        return [{"held": name, "refused": refused}]

    def _lease(self, name: str, file: str) -> bool:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # the executor makes a private copy, or says what is wrong with the file
            return False
        found = os.fstat(descriptor)
        lease = self._leases.get((found.st_dev, found.st_ino))
        if lease is not None:
            os.close(descriptor)
        else:
            lease = Lease(descriptor)
            try:
                lease.take()
            except OSError:  # somebody has it open for writing, or this file system has no leases
                os.close(descriptor)
                return False
            self._leases[found.st_dev, found.st_ino] = lease
        lease.holders[name] = file
        return True

    def _release(self, name: str) -> list[dict[str, Any]]:
        news = self.check()
        self._forget(name)
        hold = self._holds.pop(name)
        return [*news, {"released": name, "path": hold.broken, "sure": hold.sure}]

    def _forget(self, name: str) -> None:
        for key, lease in list(self._leases.items()):
            if lease.holders.pop(name, None) is not None and not lease.holders:
                os.close(lease.descriptor)
                del self._leases[key]

    def _guilty(self, lease: Lease) -> tuple[list[str], bool]:
        """Whose process is blocked at a leased file, and whether that is sure. If nobody's, all holders have to end."""
        for _ in range(LOOKS):
            everyone = family.census()
            blocked = {pid for pid in everyone if _waits_for_lease(pid)}
            if blocked:
                guilty = [name for name in lease.holders if blocked & self._members(self._holds[name])]
                if guilty:
                    return guilty, True
                strays = blocked & family.below(self._dispatcher, everyone)
                if strays:  # some module's, that has shed every mark
                    self._kill(partial(_living, strays))
                    return list(lease.holders), len(lease.holders) == 1
            time.sleep(LOOK_S)
        # Who would not wait (O_NONBLOCK) shows nowhere; who waits, but is no module, is a stranger.
        return list(lease.holders), len(lease.holders) == 1 and not blocked

    def _renew(self, lease: Lease) -> list[dict[str, Any]]:
        """A broken lease is worth nothing to those that still hold it: it is taken anew."""
        if not lease.holders:
            return []
        lease.drop()
        try:
            lease.take()
        except OSError:  # a writer got in: whoever still reads this file must end
            news = []
            for name in list(lease.holders):
                hold = self._holds[name]
                hold.broken, hold.sure = lease.holders[name], False
                self._end(hold)
                self._forget(name)
                news.append({"broken": name, "path": hold.broken, "sure": False})
            return news
        return []

    def _members(self, hold: Hold) -> set[int]:
        return family.members(hold.folder, leader=hold.leader, dispatcher=self._dispatcher)

    def _end(self, hold: Hold) -> None:
        self._kill(lambda: self._members(hold) - {self._dispatcher})

    def _kill(self, left: Callable[[], set[int]]) -> None:
        """Kills until nothing is left."""
        deadline = time.monotonic() + GONE_WITHIN_S
        while (pids := left()) and time.monotonic() < deadline:
            family.kill(pids)
            time.sleep(0.002)


def _living(pids: set[int]) -> set[int]:
    return {pid for pid in pids if (found := family.look(pid)) is not None and not found.zombie}


def _waits_for_lease(pid: int) -> bool:
    with contextlib.suppress(OSError):  # gone, or another user's
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib is not loaded here
            with open(f"/proc/{pid}/task/{task}/wchan", "rb") as file:  # noqa: PTH123 - as above
                if b"break_lease" in file.read():
                    return True
    return False


def main(descriptor: int, dispatcher: int) -> None:
    """Serves the dispatcher at the other end of the socket until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it goes when the dispatcher has gone, not before
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGIO, lambda _number, _frame: None)
    _serve(Guard(dispatcher), socket.socket(fileno=descriptor), woken)


def _serve(guard: Guard, dispatcher: socket.socket, woken: socket.socket) -> None:
    pending = b""
    while True:
        ready, _, _ = select.select([dispatcher, woken], [], [])
        news = []
        if woken in ready:
            woken.recv(4096)
            news += guard.check()
        if dispatcher in ready:
            received = _receive(dispatcher)
            if not received:
                return guard.end_all()
            *lines, pending = (pending + received).split(b"\n")
            news += [reply for line in lines for reply in guard.answer(json.loads(line))]
        try:
            dispatcher.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in news))
        except OSError:
            return guard.end_all()


def _receive(dispatcher: socket.socket) -> bytes:
    try:
        return dispatcher.recv(1 << 20)
    except ConnectionError:
        return b""
