"""A real server that speaks MongoDB's protocol, for tests.

Where the program cannot be had a test is skipped, and says why; in CI it fails. It is a process of its own: its licence
(GPL) is not Ion's.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from tests.ports import free_port

from ion.adapters.mongo.settings import MongoSettings

PATIENCE_S = 180.0


def program() -> str:
    """The server's program: beside this Python (the package secantusdb), or on the path."""
    found = shutil.which("secantusd-py", path=str(Path(sys.executable).parent)) or shutil.which("secantusd-py")
    if found is None:
        missing = "there is no secantusd-py: pip install --pre secantusdb"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


class MongoServer:
    """One server; it keeps its port and its folder over deaths. `client` is what the vendor's client must be told."""

    def __init__(self, folder: Path, *options: str, **client: Any) -> None:
        self._client = client
        self.port = free_port()
        self._program = program()
        self._folder = folder
        self._options = options
        self._log = folder / "mongodb.log"
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self, database: str = "", **fields: Any) -> MongoSettings:
        """Of a database of its own, by default; with much patience, which only a server that is away uses up."""
        known = {"hosts": (self.host,), "database": database or f"t{uuid.uuid4().hex[:16]}", "timeout_s": 60.0}
        return MongoSettings(**{**known, **fields})

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """A client of the vendor's, that blocks."""
        return MongoClient(self.host, **{"serverSelectionTimeoutMS": PATIENCE_S * 1000, **self._client, **options})

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns before it listens."""
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self._folder / "disk"))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *place, *self._options], stdout=log, stderr=log, cwd=self._folder
            )

    def checkpoint(self) -> None:
        """This server's tables, not what is in them, outlive a kill only after a checkpoint."""
        with self.client() as client:
            client.admin.command("fsync")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self) -> None:
        """Until it answers. The client comes once it listens: one that fails to connect may leave a socket behind."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            with suppress(OSError, PyMongoError):
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S).close()
                with self.client() as client:
                    client.admin.command("ping")
                return
            time.sleep(0.1)
        pytest.fail(f"the MongoDB server does not start: {self._log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """One for all tests of a run that do not kill it."""
    with MongoServer(tmp_path_factory.mktemp("mongodb")) as server:
        yield server
