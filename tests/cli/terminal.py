"""The real command on a terminal of its own, with somebody at the keyboard."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable

from tests.cli.programs import ION, PATIENCE_S


class Terminal:
    """The command on a terminal of its own, with a keyboard."""

    def __init__(self, *arguments: str) -> None:
        pid, self._ours = os.forkpty()
        if not pid:
            environ = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
            environ |= {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
            os.execvpe(sys.executable, [*ION, *arguments], environ)
        self.pid, self.text = pid, ""

    def until(self, enough: Callable[[str], bool]) -> None:
        """Reads what is drawn, for a while at most."""
        deadline = time.monotonic() + PATIENCE_S
        while not enough(self.text):
            assert time.monotonic() < deadline, self.text
            piece = self._read()
            assert piece, self.text
            self.text += piece

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        while piece := self._read():
            self.text += piece
        _, status = os.waitpid(self.pid, 0)
        os.close(self._ours)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _read(self) -> str:
        try:
            return os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # what Linux answers at the end
            return ""
