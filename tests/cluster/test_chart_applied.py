"""The chart on the real cluster: the API server takes all of it, and the accounts may do what they need and no more."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.cluster.cluster import Cluster
from tests.deploy.chart import Document, render, values_of

CRDS = ("Certificate", "PodMonitor", "PrometheusRule")
"""What belongs to operators that are not in this cluster."""


def rendered(name: str, version: str, namespace: str, **values: Document) -> list[Document]:
    made = render(values_of(name) | values, kube_version=version, namespace=namespace)
    return [one for one in made.values() if one["kind"] not in CRDS]


def as_list(objects: list[Document]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


@pytest.fixture(scope="module")
def version(cluster: Cluster) -> str:
    """Of the API server, as Helm sees it; a build of Debian's source may call itself v0.0.0."""
    said = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    return "v1.20.2" if str(said).startswith("v0.") else str(said)


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def applied(cluster: Cluster, namespace: str, version: str) -> str:
    """The namespace, with the chart applied: a Deployment for each module, jobs in the same place. No pod is made."""
    none: Document = {"replicas": 0}
    values = values_of("full")
    objects = rendered(
        "full", version, namespace, jobs={}, management=values["management"] | none, gateway=values["gateway"] | none
    )
    cluster.kubectl("apply", "--validate=true", "-f", "-", stdin=as_list(objects))
    return namespace


@pytest.mark.parametrize("name", ["external", "full", "trial"])
def test_the_api_server_takes_every_object(cluster: Cluster, namespace: str, version: str, name: str) -> None:
    """None is refused; unknown fields are, by its own schema, and what it gives back is what it was given."""
    objects = rendered(name, version, namespace, jobs={})
    command = ("apply", "--validate=true", "--dry-run=server", "-o", "json", "-f", "-")
    taken = json.loads(cluster.kubectl(*command, stdin=as_list(objects)))["items"]
    assert len(taken) == len(objects) >= 20
    for given, got in zip(objects, taken, strict=True):
        assert lost(given, got) == []


def test_a_field_that_does_not_exist_is_refused(cluster: Cluster, namespace: str) -> None:
    """So the test above can fail."""
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": namespace}, "dato": {}}
    with pytest.raises(subprocess.CalledProcessError) as failed:
        cluster.kubectl("apply", "--validate=true", "--dry-run=server", "-f", "-", stdin=as_list([wrong]))
    assert "dato" in failed.value.stderr


def lost(given: object, got: object, path: str = "") -> list[str]:
    """What of the first is not in the second. Empty values and quantities may be written in another way."""
    if isinstance(given, dict):
        fields = got if isinstance(got, dict) else {}
        return [one for key, value in given.items() for one in lost(value, fields.get(key), f"{path}.{key}")]
    if isinstance(given, list):
        items = got if isinstance(got, list) else []
        if len(given) != len(items):
            return [path]
        return [one for n, (a, b) in enumerate(zip(given, items, strict=True)) for one in lost(a, b, f"{path}[{n}]")]
    return [] if given == got or not given or ".resources." in path or path.startswith(".stringData") else [path]


def may(cluster: Cluster, account: str, verb: str, resource: str, namespace: str, *, of: str = "") -> bool:
    """`kubectl auth can-i`, for an account of the chart; a resource may be `KIND/NAME`, or `KIND:PART` of one."""
    who = f"system:serviceaccount:{of or namespace}:{account}"
    kind, _, part = resource.partition(":")
    return cluster.succeeds("auth", "can-i", verb, kind, f"--subresource={part}", "-n", namespace, "--as", who)


NEEDED = [
    ("ion-dispatcher", "jobs.batch", "get list create delete"),
    ("ion-dispatcher", "pods", "list watch patch"),
    ("ion-dispatcher", "pods:log", "get"),
    ("ion-dispatcher", "secrets", "get list create patch delete"),
    ("ion-dispatcher", "configmaps", "get create"),
    ("ion-dispatcher", "events", "list"),
    ("ion-management", "deployments.apps", "get list create patch delete"),
    ("ion-management", "pods", "list"),
    ("ion-management", "configmaps", "get create patch"),
    ("ion-management", "secrets/ion", "get"),
]
FORBIDDEN = [
    ("ion-dispatcher", "pods", "create delete"),
    ("ion-dispatcher", "pods:exec", "create"),
    ("ion-dispatcher", "deployments.apps", "get create patch"),
    ("ion-dispatcher", "configmaps", "list patch delete"),
    ("ion-dispatcher", "serviceaccounts:token", "create"),
    ("ion-dispatcher", "roles.rbac.authorization.k8s.io", "get create"),
    ("ion-dispatcher", "jobs.batch", "update patch deletecollection"),
    ("ion-management", "pods", "create delete get watch"),
    ("ion-management", "secrets", "get list create patch delete"),
    ("ion-management", "secrets/ion", "patch delete"),
    ("ion-management", "configmaps", "list delete"),
    ("ion-management", "pods:exec", "create"),
    ("ion-management", "jobs.batch", "get create"),
    ("ion-management", "serviceaccounts:token", "create"),
    ("ion-management", "rolebindings.rbac.authorization.k8s.io", "create"),
    *[
        (account, resource, "get list create delete")
        for account in ("ion-gateway", "ion-job")
        for resource in ("pods", "secrets", "configmaps", "jobs.batch", "deployments.apps")
    ],
]


@pytest.mark.parametrize(("account", "resource", "verbs"), NEEDED)
def test_what_an_account_needs_it_may(cluster: Cluster, applied: str, account: str, resource: str, verbs: str) -> None:
    """Each verb that its process uses, in its namespace."""
    assert [verb for verb in verbs.split() if not may(cluster, account, verb, resource, applied)] == []


@pytest.mark.parametrize(("account", "resource", "verbs"), FORBIDDEN)
def test_anything_else_it_may_not(cluster: Cluster, applied: str, account: str, resource: str, verbs: str) -> None:
    """No running of programs in pods, no rights for others; the gateway and jobs nothing at all."""
    assert [verb for verb in verbs.split() if may(cluster, account, verb, resource, applied)] == []


@pytest.mark.parametrize("account", ["ion-dispatcher", "ion-management"])
def test_no_account_has_rights_elsewhere(cluster: Cluster, applied: str, account: str) -> None:
    """Neither in another namespace nor in the cluster as a whole."""
    for resource in ("secrets", "pods", "jobs.batch", "deployments.apps"):
        assert not may(cluster, account, "list", resource, "kube-system", of=applied)
    assert not may(cluster, account, "list", "nodes", applied)
    assert not may(cluster, account, "get", "namespaces", applied)
