"""The cluster itself: before anything of Ion's runs in it, three containers run after each other in a pod."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import running
from tests.cluster.busybox import busybox
from tests.cluster.cluster import Cluster
from tests.cluster.three_containers import ended, job
from tests.waiting import waited

CHECKOUT = Path(__file__).parents[2]


def test_three_containers_run_after_each_other(cluster: Cluster) -> None:
    """Each sees what the one before it wrote; what they say is in their logs."""
    cluster.load(busybox())
    with cluster.namespace() as namespace:
        body = job("echo one > /shared/a", "cat /shared/a; echo two >> /shared/a", "cat /shared/a")
        cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=body)
        assert waited(ended(cluster, namespace), 300.0)
        logs = [cluster.kubectl("-n", namespace, "logs", "job/probe", "-c", name) for name in ("second", "third")]
        assert logs == ["one\n", "one\ntwo\n"]


def test_a_second_start_finds_the_cluster_that_runs(cluster: Cluster) -> None:
    """It starts nothing, and says how to speak to the one that is there."""
    state = (running.kubeconfig().parent / "state.json").read_bytes()
    done = command("up")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"kubectl --kubeconfig={cluster.kubeconfig}" in done.stdout
    assert (running.kubeconfig().parent / "state.json").read_bytes() == state
    assert command("status").stdout == "up\n"


def test_no_second_cluster_starts_beside_it(cluster: Cluster, tmp_path: Path) -> None:
    """Two kubelets would delete the logs of each other's pods, so another cache folder gives no other cluster."""
    done = command("up", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "a kubelet runs here that is not of the cluster in" in done.stderr
    assert not (tmp_path / "ion" / "kubernetes" / "run").exists()
    assert cluster.succeeds("get", "nodes")


def command(word: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cluster", word],
        cwd=CHECKOUT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
