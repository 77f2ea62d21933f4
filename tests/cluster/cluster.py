"""The cluster as tests see it. One serves all: each test has a namespace of its own."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cluster import running, runtime


class Cluster:
    """A running cluster."""

    @property
    def kubeconfig(self) -> Path:
        return running.kubeconfig()

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace, deleted afterwards; nobody waits for that."""
        name = f"test-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def load(self, archive: Path) -> None:
        runtime.load(archive)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return running.kubectl(*words, stdin=stdin)

    def succeeds(self, *words: str) -> bool:
        """Whether kubectl can do that now."""
        try:
            self.kubectl(*words)
        except subprocess.CalledProcessError:
            return False
        return True

    def restart(self, program: str) -> None:
        """Of `kube-apiserver`, `kubelet`, `kube-scheduler`, …"""
        running.restart(program)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The one that runs, or one that is started for these tests and stopped after them."""
    if why := running.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no cluster: {why}")
        pytest.skip(why)
    began = running.up()
    try:
        yield Cluster()
    finally:
        if began and "PYTEST_XDIST_WORKER" not in os.environ:  # another worker may use it; `make test` ends it
            running.down()
