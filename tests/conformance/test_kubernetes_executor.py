"""The Kubernetes executor, on a real cluster and a real S3 store, against the suite of every adapter."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.attempts import Place, abandon, on_cluster
from tests.cluster.cluster import Cluster, cluster
from tests.stores.seaweed import Seaweed

from ion.ports.executor import Assignment, Executor
from ion.testing.conformance.executor import ExecutorConformance

__all__ = ["cluster"]


class TestKubernetesExecutor(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def place(self, cluster: Cluster, seaweed: Seaweed, tmp_path: Path) -> Iterator[None]:
        self.cluster = cluster
        with on_cluster(cluster, seaweed, tmp_path) as self.where:
            yield

    where: Place

    def open_executor(self) -> AbstractAsyncContextManager[Executor]:
        return self.where.open()

    async def stored(self, path: str) -> bytes:
        return await self.where.stored(path)

    async def abandon(self, script: str) -> Assignment:
        return await abandon(self.where, self.assignment(script))

    async def ended(self, work: Assignment) -> None:
        namespace = self.where.kubernetes.namespace
        words = ("wait", "-n", namespace, "--for=condition=complete", "--timeout=240s", "job", "--all")
        await asyncio.to_thread(self.cluster.kubectl, *words)

    def assignment(self, script: str, **more: Any) -> Assignment:
        return self.where.assignment(script, **more)
