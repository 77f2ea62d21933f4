"""A real store's server as a child of the tests: started, stopped, started again on the same port and folder.

Where it cannot be had a test is skipped, and says why; in CI it fails.
"""

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import trustme

from ion.adapters.blobs.objects_settings import ObjectsSettings

PATIENCE_S = 180.0
"""For a start, an end, or an answer: what a server takes beside many others on a busy machine."""


def lacking(why: str) -> None:
    """Ends the test: it needs what is not here."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files of a certificate for 127.0.0.1, and of its authority."""

    certificate: Path
    key: Path
    ca: Path


def made_tls(folder: Path) -> Tls:
    """An authority of its own, and a certificate of it."""
    tls = Tls(certificate=folder / "certificate.pem", key=folder / "key.pem", ca=folder / "ca.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tls.ca)
    issued.private_key_pem.write_to_path(tls.key)
    tls.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    return tls


class ObjectServer(ABC):
    """`folder` holds its disk and its log; `port` is where its clients come."""

    port: int
    graceful = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder / "disk", ignore_errors=True)  # gigabytes; the log stays

    def start(self) -> None:
        """Returns before it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log)

    def stop(self) -> None:
        """SIGKILL, but for a server that may write first what it has."""
        if self._process is not None and self.graceful:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            finally:
                self.kill()
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self._process is not None and self._process.poll() is not None:
                break
            if self.answers():
                return
            time.sleep(0.1)
        pytest.fail(f"{type(self).__name__} does not start: {self.log.read_text()[-2000:]}")

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves a request now."""

    @abstractmethod
    def fresh(self, name: str, port: int = 0) -> ObjectsSettings:
        """An empty place on it, through `port` if that is another's who forwards to it."""
