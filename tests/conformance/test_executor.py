"""The local executor, by processes, against the suite of every adapter."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from ion.adapters.blobs.filesystem import FilesystemBlobs
from ion.ports.executor import Assignment, Executor
from ion.testing.conformance.executor import ExecutorConformance, assignment
from ion.testing.local import abandon, open_local


class TestLocalExecutor(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def open_executor(self) -> AbstractAsyncContextManager[Executor]:
        return open_local(self.folder)

    async def stored(self, path: str) -> bytes:
        async with FilesystemBlobs(self.folder / "blobs") as blobs:
            return await blobs.get_bytes(path)

    async def abandon(self, script: str) -> Assignment:
        return await abandon(self.folder, assignment(script))
