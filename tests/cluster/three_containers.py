"""A Job of three containers, which run after each other and share a folder."""

import json
from collections.abc import Callable

from tests.cluster.busybox import BUSYBOX
from tests.cluster.cluster import Cluster


def _container(name: str, script: str) -> dict[str, object]:
    return {
        "name": name,
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }


def job(first: str, second: str, third: str) -> str:
    pod = {
        "restartPolicy": "Never",
        "initContainers": [_container("first", first), _container("second", second)],
        "containers": [_container("third", third)],
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    spec = {"backoffLimit": 0, "template": {"spec": pod}}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "probe"}, "spec": spec})


def ended(cluster: Cluster, namespace: str) -> Callable[[], bool]:
    def look() -> bool:
        status = json.loads(cluster.kubectl("-n", namespace, "get", "job", "probe", "-o", "json"))["status"]
        return bool(status.get("succeeded") or status.get("failed"))

    return look
