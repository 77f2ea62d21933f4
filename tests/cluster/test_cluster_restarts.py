"""Restarts of the cluster's programs, which a crash test relies on."""

import asyncio
import os

import pytest
from tests.cluster.attempts import Place, place
from tests.cluster.busybox import busybox
from tests.cluster.cluster import Cluster
from tests.cluster.three_containers import ended, job
from tests.waiting import waited

from ion.ports.executor import Phase
from ion.testing.conformance.executor import final, logs_line

__all__ = ["place"]
ALONE = "disturbs other workers: `make test` runs it last"
pytestmark = [pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason=ALONE)]
LINES = 15


@pytest.mark.parametrize("program", ["kube-apiserver", "kubelet"])
def test_what_runs_goes_on_when_a_program_is_restarted(cluster: Cluster, program: str) -> None:
    """A pod outlives the API server and the kubelet, and its end is seen afterwards."""
    cluster.load(busybox())
    with cluster.namespace() as namespace:
        script = "touch /shared/up; until [ -e /shared/go ]; do sleep 0.1; done; echo done"
        cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=job("true", "true", script))
        pod = ("-n", namespace, "get", "pod", "-l", "job-name=probe", "-o")
        phase = "jsonpath={.items[*].status.phase}"
        assert waited(lambda: cluster.kubectl(*pod, phase) == "Running", 300.0)
        name = cluster.kubectl(*pod, "jsonpath={.items[0].metadata.name}")
        cluster.restart(program)
        go = ("-n", namespace, "exec", name, "-c", "third", "--", "touch", "/shared/go")
        assert waited(lambda: cluster.succeeds(*go), 300.0)
        assert waited(ended(cluster, namespace), 300.0)
        assert cluster.kubectl("-n", namespace, "logs", "job/probe", "-c", "third") == "done\n"


@pytest.mark.parametrize("program", ["kube-apiserver", "kubelet"])
async def test_an_attempt_is_followed_when_a_program_is_restarted(place: Place, cluster: Cluster, program: str) -> None:
    """It stays the same attempt, and no line of its log is lost or doubled."""
    script = f'i=0; while [ "$i" -lt {LINES} ]; do echo "line $i"; i=$((i+1)); sleep 1; done'
    async with place.open() as executor:
        handle = await executor.submit(place.assignment(script))
        await logs_line(executor, handle, b"line 2")
        await asyncio.to_thread(cluster.restart, program)
        status = await final(executor, handle)
        assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)
        logged = (await place.stored(status.log)).splitlines()
        assert [line.partition(b"Z ")[2] for line in logged] == [b"line %d" % number for number in range(LINES)]
