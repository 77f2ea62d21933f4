"""The network policies, looked at as a cluster's network looks at them."""

from collections.abc import Mapping

import pytest
from tests.deploy.chart import SETS, Document, of_kind, pods, render, values_of

from ion.adapters.executors.kubernetes.pod import job_body
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.model.module import Module, Subscription, revise
from ion.ports.executor import Assignment


def job_labels(instance: str = "ion", *, network: bool) -> dict[str, str]:
    """The labels that the executor gives to a job's pod."""
    module = Module(
        name="detect", image="acme/detect:1", provider="kubernetes", network=network, on=(Subscription(type="photo"),)
    )
    event = Event(id="e", type="photo", source="s", correlation_id="c", parent_id="p", time=utc_now())
    job = Job(id="j", module="detect", event=event, attempt=1)
    body = job_body(Assignment(job=job, revision=revise(module)), KubernetesSettings(instance=instance))
    labels: dict[str, str] = body["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Document, labels: Mapping[str, str]) -> bool:
    """As Kubernetes does: `NotIn` fits what lacks the label too."""
    said: bool = selector.get("matchLabels", {}).items() <= labels.items()
    for one in selector.get("matchExpressions", []):
        inside = labels.get(one["key"]) in one["values"]
        said = said and (inside if one["operator"] == "In" else not inside)
    return said


def policies(made: Mapping[tuple[str, str], Document], labels: Mapping[str, str]) -> dict[str, Document]:
    found = of_kind(made, "NetworkPolicy").items()
    return {name: one["spec"] for name, one in found if selects(one["spec"]["podSelector"], labels)}


@pytest.mark.parametrize("name", SETS)
def test_every_pod_is_under_a_policy_that_shuts_it(name: str) -> None:
    """Ingress of all pods of the chart and of jobs is what some policy lets in, and no more."""
    made = render(values_of(name))
    templates = [one["spec"]["template"] for (kind, _), one in made.items() if kind in ("Deployment", "StatefulSet")]
    for labels in (*(one["metadata"]["labels"] for one in templates), job_labels(network=True)):
        assert any("Ingress" in one["policyTypes"] for one in policies(made, labels).values()), labels
    assert len(templates) == len(pods(made))


def test_a_job_without_network_reaches_names_and_blobs() -> None:
    """One policy holds: out to DNS and to where the blobs are; in from nowhere."""
    held = policies(render(values_of("external")), job_labels(network=False))
    assert list(held) == ["ion-jobs"]
    assert held["ion-jobs"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in held["ion-jobs"]
    names, blobs = held["ion-jobs"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert names["to"] == [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]
    assert blobs == {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}], "ports": [{"port": 443, "protocol": "TCP"}]}


def test_a_job_with_network_does_not_reach_the_clouds_metadata() -> None:
    """Where a node's own credentials are had; what else is left out is a matter of `networkPolicy.jobs`."""
    held = policies(render(values_of("external")), job_labels(network=True))
    assert set(held) == {"ion-jobs", "ion-jobs-network"}
    blocks = [peer["ipBlock"] for peer in held["ion-jobs-network"]["egress"][0]["to"] if "ipBlock" in peer]
    assert blocks[0] == {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}


def test_jobs_of_another_ion_are_left_alone() -> None:
    """Instances that share a namespace do not open or shut each other's jobs."""
    assert policies(render(values_of("external")), job_labels("other", network=True)) == {}


def test_a_job_does_not_reach_the_management_api() -> None:
    """By default pods of the namespace do, but for those of jobs."""
    rule = render(values_of("external"))["NetworkPolicy", "ion-management"]["spec"]["ingress"][0]
    assert rule["ports"] == [{"port": "grpc", "protocol": "TCP"}]
    (peer,) = rule["from"]
    assert not selects(peer["podSelector"], job_labels(network=True))
    assert selects(peer["podSelector"], {"app": "a-tool"})


def test_servers_of_the_trial_let_in_who_needs_them() -> None:
    """Ion's own processes; jobs come to the blobs and to nothing else."""
    made = render(values_of("trial"))
    own = made["Deployment", "ion-gateway"]["spec"]["template"]["metadata"]["labels"]
    for server in ("nats", "postgresql", "seaweedfs"):
        (rule,) = made["NetworkPolicy", f"ion-{server}"]["spec"]["ingress"]
        chosen = [peer["podSelector"] for peer in rule["from"]]
        assert any(selects(one, own) for one in chosen)
        assert any(selects(one, job_labels(network=False)) for one in chosen) == (server == "seaweedfs")


def test_none_is_made_if_none_is_wanted() -> None:
    """A cluster with policies of its own makers."""
    values = values_of("external") | {"networkPolicy": {"enabled": False}}
    assert of_kind(render(values), "NetworkPolicy") == {}
