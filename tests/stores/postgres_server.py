"""A real PostgreSQL server for tests: on a free port of loopback, killed, started again, each in a folder of its own.

The server refuses to run as root, so there it runs as another user. Where it cannot be had a test is skipped, and says
why; in CI it fails.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.ports import free_port

from ion.adapters.postgres.settings import PostgresSettings

PATIENCE_S = 180.0
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 50
shared_buffers = 128MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
checkpoint_timeout = 30min
fsync = {fsync}
log_min_messages = warning
{more}
"""


class PostgresServer:
    """One server; it keeps its port and its folder over deaths.

    Args:
        more: More of the server's configuration file.
        fsync: Whether a commit waits for the disk. Without, it still survives the death of every process.
        disk: Where its folder is made; in the usual place by default.
        wal: Where its write-ahead log is, in files of a megabyte; within its folder by default.
    """

    def __init__(
        self, more: str = "", *, fsync: bool = False, disk: Path | None = None, wal: Path | None = None
    ) -> None:
        self._bin = _programs()
        self._wal = wal
        self.folder = Path(tempfile.mkdtemp(prefix="ion-postgres-", dir=disk))
        self.log = self.folder / "log"
        self.port = free_port()
        self._as = _other_user(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._initialise()
            settings = _CONFIGURATION.format(port=self.port, fsync="on" if fsync else "off", more=more)
            with (self.folder / "data" / "postgresql.conf").open("a") as file:
                file.write(settings)
            self.start()
        except BaseException:
            self.close()
            raise

    def settings(self, **changes: object) -> PostgresSettings:
        """A schema that nobody has used, with as much patience as there can be; `changes` go over that."""
        place = {"port": self.port, "database": "postgres", "user": "ion", "schema": f"t_{uuid.uuid4().hex}"}
        return PostgresSettings(**{**place, "timeout_s": 60.0, **changes})  # type: ignore[arg-type]

    @property
    def dead(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Starts the server on its folder and waits until it takes statements."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, self._bin / "postgres", "-D", self.folder / "data"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return
            time.sleep(0.05)
        pytest.fail(f"the PostgreSQL server does not start: {self.log.read_text()[-2000:]}")

    def crash(self) -> None:
        """Ends every process of it at once, without a checkpoint: it recovers when it is started again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        self.crash()
        shutil.rmtree(self.folder)
        if self._wal is not None:
            shutil.rmtree(self._wal)

    def execute(self, statement: str) -> Sequence[tuple[object, ...]]:
        """A statement on a connection of its own; its rows."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="postgres", user="ion", autocommit=True, connect_timeout=60
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _initialise(self) -> None:
        arguments = [
            "--username=ion",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            *(() if self._wal is None else (f"--waldir={self._wal}", "--wal-segsize=1")),
        ]
        done = subprocess.run(
            [*self._as, self._bin / "initdb", "-D", self.folder / "data", *arguments],
            cwd="/",
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"initdb failed: {done.stderr.decode()[-2000:]}")


@contextmanager
def postgres_server(more: str = "", **options: Any) -> Iterator[PostgresServer]:
    """A server for the time of the context."""
    server = PostgresServer(more, **options)
    try:
        yield server
    finally:
        server.close()


def _programs() -> Path:
    """The folder of the server's programs: on the path, or where Debian keeps them."""
    found = shutil.which("initdb")
    if found is not None and (Path(found).parent / "postgres").exists():
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not debian:
        missing = "there is no PostgreSQL server: install the package postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return debian[-1].parent


def _other_user(folder: Path) -> Sequence[str]:
    """What to put before a command so that it does not run as root; the folder is given to that user."""
    if os.getuid() != 0:
        return ()
    shutil.chown(folder, "nobody", "nogroup")
    return ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
