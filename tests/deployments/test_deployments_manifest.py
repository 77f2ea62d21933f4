"""A module's dispatchers as documents of Kubernetes."""

from typing import Any

import msgspec
import pytest

from ion.adapters.deployments.kubernetes.manifest import (
    deployment,
    environment,
    labels_of,
    name_of,
    scaled_object,
)
from ion.adapters.deployments.kubernetes.settings import DispatchersSettings, Replicas
from ion.adapters.executors.kubernetes.fit import is_dns_label
from ion.adapters.executors.kubernetes.names import instance_labels
from ion.adapters.executors.kubernetes.settings import HANDLER_IMAGE, KubernetesSettings
from ion.errors import InvalidError
from ion.ports.deployments import Wanted

WANTED = Wanted(module="detect", environment={"A": "1"}, replicas=2, most=5, basis="b1")


def made(cluster: KubernetesSettings | None = None, wanted: Wanted = WANTED, **said: Any) -> dict[str, Any]:
    settings = DispatchersSettings(config_map="ion", **said)
    return deployment(wanted, cluster or KubernetesSettings(), settings, "media")


def pod(document: dict[str, Any]) -> dict[str, Any]:
    return dict(document["spec"]["template"]["spec"])


def container(document: dict[str, Any]) -> dict[str, Any]:
    (one,) = pod(document)["containers"]
    return dict(one)


def test_it_is_named_after_instance_and_module() -> None:
    """Whatever they are called, it is a name of Kubernetes, and no two modules share one."""
    assert name_of("detect", "ion") == "ion-dispatcher-detect"
    long = [name_of("m" * 39 + end, "i" * 40) for end in "ab"]
    assert all(is_dns_label(name) for name in long)
    assert long[0] != long[1]


def test_the_container_is_a_dispatcher_for_the_module() -> None:
    """With the settings from the ConfigMap, the connections from the Secret, and its state in a volume of its own."""
    one = container(made(secret="connections"))
    assert one["args"] == ["dispatcher", "start", "/etc/ion/ion.yaml", "--module", "detect"]
    assert one["envFrom"] == [{"secretRef": {"name": "connections"}}]
    assert one["env"] == [{"name": "ION_HOME", "value": "/var/lib/ion"}]
    volumes = {volume["name"]: volume for volume in pod(made())["volumes"]}
    places = {mount["mountPath"]: volumes[mount["name"]] for mount in one["volumeMounts"]}
    assert places["/etc/ion"]["configMap"] == {"name": "ion"}
    assert places["/var/lib/ion"]["emptyDir"] == places["/tmp"]["emptyDir"] == {}


def test_it_may_as_little_as_it_needs() -> None:
    """No user of rights, nothing to write but its volumes; the token that makes Jobs is there."""
    document = made(service_account="dispatchers")
    assert container(document)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(document)["securityContext"]["runAsNonRoot"]
    assert pod(document)["automountServiceAccountToken"]
    assert pod(document)["serviceAccountName"] == "dispatchers"


@pytest.mark.parametrize(
    ("cluster", "said", "image"),
    [
        ({}, {}, HANDLER_IMAGE),
        ({"handler_image": "acme/ion:1"}, {}, "acme/ion:1"),
        ({"handler_image": "acme/ion:1"}, {"image": "acme/ion:2"}, "acme/ion:2"),
    ],
)
def test_the_image_is_the_handlers_unless_another_is_named(
    cluster: dict[str, Any], said: dict[str, Any], image: str
) -> None:
    """One image is all of Ion."""
    assert container(made(KubernetesSettings(**cluster), **said))["image"] == image


def test_the_pods_change_with_the_basis_and_not_with_the_module() -> None:
    """So a new revision of a module starts none anew, and neither does another number."""
    other = msgspec.structs.replace(WANTED, environment={"A": "2"}, replicas=1)
    assert made(wanted=other)["spec"]["template"] == made()["spec"]["template"]
    moved = msgspec.structs.replace(WANTED, basis="b2")
    assert made(wanted=moved)["spec"]["template"] != made()["spec"]["template"]


def test_its_labels_are_not_those_of_jobs() -> None:
    """Whoever looks for one Ion's attempts does not find its dispatchers, nor the other way round."""
    labels = made()["spec"]["template"]["metadata"]["labels"]
    assert labels_of("ion").items() <= labels.items()
    assert made()["spec"]["selector"]["matchLabels"] == labels
    assert not instance_labels("ion").items() <= labels.items()
    assert not labels_of("ion-2").items() <= labels.items()


def test_a_template_is_laid_over_the_pods() -> None:
    """Containers are merged by name, and `null` takes away."""
    template = {"spec": {"hostNetwork": True, "containers": [{"name": "dispatcher", "livenessProbe": None}]}}
    document = made(pod_template=template)
    assert pod(document)["hostNetwork"]
    assert "livenessProbe" not in container(document)
    assert container(document)["readinessProbe"]["httpGet"]["path"] == "/healthz"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"spec": {"containers": [{"image": "x"}]}}, "podTemplate: an entry of spec.containers has no name"),
        ({"metadata": {"labels": {"ion.dev/module": "x"}}}, "changes a label of Ion's own"),
        ({"spec": {"containers": [{"name": "dispatcher", "$patch": "delete"}]}}, "takes the container dispatcher away"),
    ],
)
def test_a_template_that_breaks_it_is_refused(template: dict[str, Any], says: str) -> None:
    """In one sentence that names the key."""
    with pytest.raises(InvalidError, match=says):
        made(pod_template=template)


def test_the_environment_goes_with_its_deployment() -> None:
    """A ConfigMap with the module's variables, for people, which the Deployment owns."""
    config = environment(WANTED, KubernetesSettings(), {"metadata": {**made()["metadata"], "uid": "u"}})
    assert config["data"] == {"A": "1"}
    (owner,) = config["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", "ion-dispatcher-detect", "u")


def test_keda_is_told_the_bounds_and_where_the_open_jobs_are() -> None:
    """The Deployment then has no number of ours; the scaler goes with it."""
    said = DispatchersSettings(
        config_map="ion", figures="http://ion:9464/", per_replica=20, replicas=Replicas(min=0, max=9, down_after_s=90.0)
    )
    document = deployment(WANTED, KubernetesSettings(), said, "media", scaled=True)
    assert "replicas" not in document["spec"]
    scaler = scaled_object(WANTED, KubernetesSettings(), said, {"metadata": {**document["metadata"], "uid": "u"}})
    assert (scaler["metadata"]["namespace"], scaler["metadata"]["ownerReferences"][0]["uid"]) == ("media", "u")
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {"name": "ion-dispatcher-detect"}
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 5, 90)
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"] == {"url": "http://ion:9464/open/detect", "valueLocation": "open", "targetValue": "20"}


@pytest.mark.parametrize(("least", "most"), [(2, 1), (-1, 1), (0, 0)])
def test_numbers_that_cannot_be_are_refused(least: int, most: int) -> None:
    """A module without any dispatcher, ever, would never run."""
    with pytest.raises(InvalidError, match="replicas cannot be from"):
        Replicas(min=least, max=most)
