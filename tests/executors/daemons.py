"""A daemon that sheds all that daemons can: session, parents, environment, folder, and every open file."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ion.adapters.executors.local import family

_DAEMON = """
import os, signal, sys
if "ION_DIR" in os.environ:
    os.execve(sys.executable, sys.orig_argv, {})
if os.fork():
    os.wait()
    sys.exit()
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.closerange(0, 256)
draft = sys.argv[1] + ".draft"
with open(draft, "w") as up:
    up.write(str(os.getpid()))
os.rename(draft, sys.argv[1])
signal.pause()
"""


def bare_daemon(up: Path) -> tuple[str, ...]:
    """The command that starts it: it writes its process id to the file `up` when there is nothing left to shed."""
    return (sys.executable, "-c", _DAEMON, str(up))


def leaving_a_bare_daemon(script: str, up: Path) -> dict[str, Any]:
    """A module, for `assignment`, that leaves such a daemon and then runs `script`."""
    first = '"$0" "$@"; until [ -s "$3" ]; do sleep 0.01; done; '
    return {"script": "", "command": ("sh", "-c", first + script, *bare_daemon(up))}


def end_daemons(folder: Path) -> None:
    """After a test, failed ones too: ends the daemons that wrote a file `*.pid` in `folder`."""
    for up in folder.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            pid = int(up.read_text())
            if os.fsencode(up) in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs, a dead one that nobody has reaped apart."""
    process = family.look(pid)
    return process is not None and not process.zombie
