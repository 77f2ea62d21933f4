"""Reading logs from the real API server, where nodes do not answer it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.api_proxy import ApiProxy, Fate
from tests.cluster.attempts import until
from tests.cluster.cluster import Cluster

from ion.adapters.executors.kubernetes.client import Kubernetes
from ion.adapters.executors.kubernetes.reading import PodReader

PATIENCE_S = 30.0
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def through(cluster: Cluster, tmp_path: Path) -> AsyncIterator[tuple[ApiProxy, Kubernetes]]:
    async with ApiProxy(cluster, tmp_path) as proxy, Kubernetes(str(proxy.kubeconfig)) as api:
        yield proxy, api


async def test_what_lost_nodes_do_not_give_holds_nothing_else_up(through: tuple[ApiProxy, Kubernetes]) -> None:
    """The API server waits long for a node, and there may be many pods on it."""
    proxy, api = through
    met = proxy.next(lambda asked: "/log" in asked.target, Fate.SILENT)

    async def read() -> None:
        async for _ in api.text(f"{PODS}/lost/log", {}):
            pass

    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(read()) for _ in range(40)]
        await until(lambda: len(met) >= 10)
        async with asyncio.timeout(PATIENCE_S):
            await api.get("/api/v1/namespaces/default")
        for task in reads:
            task.cancel()


def pod(module: str, **status: Any) -> dict[str, Any]:
    """One whose module is in this state."""
    states = [{"name": "prepare", "state": {"terminated": {}}}, {"name": "module", "state": {module: {}}}]
    return {"metadata": {"name": "lost"}, "spec": {}, "status": {"initContainerStatuses": states, **status}}


async def test_the_end_of_a_pod_is_heard_whenever_it_is_told(through: tuple[ApiProxy, Kubernetes]) -> None:
    """Also right after other news of it."""
    proxy, api = through
    met = proxy.next(lambda asked: "follow=true" in asked.target, Fate.SILENT)
    readers = [PodReader(api, PODS, pod("running"), lambda _stamp, _text: None) for _ in range(12)]
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for reader in readers:
            reader.hurry()
            group.create_task(reader.run())
        await until(lambda: len(met) == len(readers))
        for steps, reader in enumerate(readers):
            reader.see(pod("running"))
            for _ in range(steps):
                await asyncio.sleep(0)
            reader.see(pod("terminated", phase="Failed"))
