"""One program from its start to the end of the last process it left behind.

It gets a session of its own, no standard input, and one pipe for both outputs. It is awaited by a pidfd in the event
loop: no thread, no signal handler. The leader is reaped only after its group was killed, for until then its id cannot
be given to another. Nothing waits for the end of the pipe: a module may close it early, and a daemon may keep it open
for ever.
"""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from ion.adapters.executors.local.marks import WearingDraft, put
from ion.adapters.executors.local.orphans import GONE_WITHIN_S, Orphans, Reaped, reap
from ion.adapters.executors.local.readiness import Readiness
from ion.adapters.executors.log import LogSpool
from ion.errors import ContractError, UnavailableError

_READ = 64 * 1024


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. By `folder`, the attempt's, and `mark` its processes are known; `whose` it is, for messages.

    With the mark 0 it bears none: what a container's client starts may serve other containers too.
    """

    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    folder: Path
    whose: str
    mark: int = 0


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: the exit code, negative for a signal, and what it used.

    `out_of_memory`: it was ended for want of memory. `trouble`: why it did not run at all; `permanent`: and never will.
    """

    code: int
    used: Reaped
    out_of_memory: bool = False
    trouble: str = ""
    permanent: bool = False


class Run(Protocol):
    """A started module, whatever it runs in. `exited` is done when it has ended; then `finish` is awaited, once."""

    pid: int
    exited: asyncio.Future[None]

    def end(self, grace_s: float) -> None: ...
    def kill(self) -> None: ...
    async def finish(self) -> Exit: ...
    def abandon(self) -> None: ...


class ProgramRun:
    """A started program. `exited` is done when its leader has ended."""

    def __init__(
        self,
        child: "subprocess.Popen[bytes]",
        program: Program,
        output: "_Output",
        orphans: Orphans,
        readiness: Readiness,
    ) -> None:
        self.pid = child.pid
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._child = child
        self._program = program
        self._output = output
        self._orphans = orphans
        self._own_peak = _own_peak()
        self._timer: asyncio.TimerHandle | None = None
        self._readiness = readiness
        self._pidfd = os.pidfd_open(child.pid)
        readiness.add(self._pidfd, self._saw_exit)

    def end(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after `grace_s` seconds; a stopped program is continued so that it can obey."""
        if self.exited.done():
            return
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self._set_timer(grace_s)

    def kill(self) -> None:
        """SIGKILL to the whole group, at once."""
        if self._child.returncode is None:
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def finish(self) -> Exit:
        """Once `exited`: ends everything that is left, reads the last output, and closes the log.

        Raises:
            UnavailableError: a process cannot be ended.
        """
        try:
            self.signal(signal.SIGKILL)
            code, used = await self._reap_group()
            program = self._program
            used += await self._orphans.end(str(program.folder), self._output.name, mark=program.mark, leader=self.pid)
            return Exit(code=code, used=used)
        finally:
            self._close()

    def abandon(self) -> None:
        """For a loop that is being torn down: kills the group and waits for its leader, blocking shortly."""
        if self._child.returncode is None:
            self.kill()
            self._child.wait()
        self._close()

    async def _reap_group(self) -> tuple[int, Reaped]:
        deadline, pause = time.monotonic() + GONE_WITHIN_S, 0.0
        code, used = reap(self.pid) or (-signal.SIGKILL, Reaped())
        self._child.returncode = code
        if used.peak_memory <= self._own_peak:
            # The kernel hands the peak of the process that forked on to the program: this tells nothing of it.
            used = Reaped(cpu_s=used.cpu_s)
        while not self._group_gone():
            if time.monotonic() > deadline:
                raise UnavailableError(f"processes of {self._program.whose} cannot be ended: they hang in the kernel")
            await asyncio.sleep(pause)
            pause = 0.001
        return code, used

    def _group_gone(self) -> bool:
        """Reaps what the group left to us; a member that is not our child is found by the orphans' sweep."""
        while True:
            try:
                found, _ = os.waitpid(-self.pid, os.WNOHANG)
            except ChildProcessError:
                return True
            if not found:
                return False

    def _set_timer(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self.kill)

    def _saw_exit(self) -> None:
        self._readiness.remove(self._pidfd)
        if not self.exited.done():
            self.exited.set_result(None)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pidfd >= 0:
            self._readiness.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self._output.close()
        self._orphans.known.discard(self.pid)


class _Output:
    """The reading end of the module's outputs, drained in the loop into `write`."""

    def __init__(self, descriptor: int, write: Callable[[bytes], None], readiness: Readiness) -> None:
        self._descriptor = descriptor
        self._write = write
        self._readiness = readiness
        self.name = f"pipe:[{os.fstat(descriptor).st_ino}]"
        readiness.add(descriptor, self._read)

    def _read(self) -> bool:
        """One piece; False if there is nothing now or ever."""
        try:
            piece = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return False
        if piece:
            self._write(piece)
        else:
            self._readiness.remove(self._descriptor)
        return bool(piece)

    def close(self) -> None:
        """Reads what is in the pipe now, and no more."""
        if self._descriptor < 0:
            return
        self._readiness.remove(self._descriptor)
        for _ in range(32):  # a pipe holds 64 KiB, at most 1 MiB
            if not self._read():
                break
        os.close(self._descriptor)
        self._descriptor = -1


def start(program: Program, spool: LogSpool, orphans: Orphans, readiness: Readiness) -> ProgramRun:
    """Starts a program; its outputs go into the spool, which stays the caller's to close.

    Raises:
        ContractError: it cannot be started, now or ever. UnavailableError: this machine has no room for it now.
    """
    if not os.path.isdir(program.directory):  # noqa: PTH112 - on every job's way
        raise ContractError(f"the working directory of {program.whose}, {program.directory}, does not exist: create it")
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        child = _spawn(program, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    put(child.pid, program.mark)
    orphans.known.add(child.pid)
    os.set_blocking(reading, False)
    return ProgramRun(child, program, _Output(reading, spool.write, readiness), orphans, readiness)


def _spawn(program: Program, output: int) -> "subprocess.Popen[bytes]":
    try:
        with WearingDraft(program.mark):
            return subprocess.Popen(
                program.command,
                cwd=program.directory,
                env=program.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise _cannot_start(program, error) from error
    except ValueError as error:  # a NUL in a word or variable, an equals sign in a variable's name
        raise ContractError(f"{program.whose} cannot be started: {error} in its command or environment") from error


def _cannot_start(program: Program, error: OSError) -> ContractError | UnavailableError:
    command, whose = program.command[0], program.whose
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ContractError(f"the command {command!r} of {whose} (or its interpreter) does not exist: install it")
    if error.errno == errno.EACCES:
        return ContractError(f"the command {command!r} of {whose} may not be executed: make it executable (chmod +x)")
    if error.errno == errno.ENOEXEC:
        return ContractError(
            f"the command {command!r} of {whose} is no program: begin it with a line such as #!/bin/sh"
        )
    if error.errno == errno.E2BIG:
        return ContractError(f"the command and environment of {whose} are larger than the system allows: shorten them")
    return UnavailableError(f"{whose} cannot be started now: {error.strerror}")


def _own_peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
