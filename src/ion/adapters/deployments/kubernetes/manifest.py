"""A module's dispatchers as documents of Kubernetes: a Deployment, and a ConfigMap that shows the module's environment.

Everything here is a pure function. Dispatchers read what a module is from the ledger, so no image and no setting of the
module is in the pods' template: another revision starts no pod anew. Another image of Ion, another template, or another
`basis` does.
"""

import math
from typing import Any

from ion.adapters.deployments.kubernetes.settings import DispatchersSettings
from ion.adapters.executors.kubernetes.merge import merge
from ion.adapters.executors.kubernetes.names import (
    COMPONENT,
    INSTANCE,
    MANAGED_BY,
    MODULE,
    NAME,
    dns_label,
    label_value,
)
from ion.adapters.executors.kubernetes.settings import HANDLER_IMAGE, KubernetesSettings
from ion.errors import InvalidError
from ion.ports.deployments import Wanted

Document = dict[str, Any]

MANAGEMENT = "ion-management"
"""Who manages these, in labels and in `managedFields`."""
CONFIGURATION = "ion.dev/configuration"
"""The basis that a pod was started with."""
MODULE_NAME = "ion.dev/module-name"
CONTAINER = "dispatcher"
FILE = "ion.yaml"
FOLDER, STATE, SCRATCH = "/etc/ion", "/var/lib/ion", "/tmp"  # noqa: S108  a volume of the pod's own
METRICS_PORT = 9464
_POLL_S = 5
_WINDOW_MOST_S = 3600
"""What Kubernetes takes."""
STOP_S = 75
"""What a dispatcher may take to stop: its running jobs go on in the cluster, what is committed it relays first."""


def name_of(module: str, instance: str) -> str:
    """The name of a module's Deployment and ConfigMap."""
    return dns_label(f"{instance}-dispatcher-{module}")


def labels_of(instance: str) -> dict[str, str]:
    """What all Deployments of one Ion's dispatchers have."""
    return {NAME: "ion", COMPONENT: "dispatcher", MANAGED_BY: MANAGEMENT, INSTANCE: label_value(instance)}


def deployment(
    wanted: Wanted, settings: KubernetesSettings, said: DispatchersSettings, namespace: str, *, scaled: bool = False
) -> Document:
    """The whole Deployment, as it is applied; without a number where somebody else has `scaled` it.

    Raises:
        InvalidError: the settings' template cannot be laid over the pods, or takes from them what they need.
    """
    labels = {**labels_of(settings.instance), MODULE: label_value(wanted.module)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name_of(wanted.module, settings.instance),
            "namespace": namespace,
            "labels": labels,
            "annotations": {MODULE_NAME: wanted.module},
        },
        "spec": {
            **({} if scaled else {"replicas": wanted.replicas}),
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": _template(wanted, settings, said, labels),
        },
    }


def environment(wanted: Wanted, settings: KubernetesSettings, owner: Document) -> Document:
    """The ConfigMap with the module's environment, which goes with its Deployment. Nobody but people reads it."""
    data = dict(wanted.environment)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _beside(wanted, settings, owner), "data": data}


def scaled_object(wanted: Wanted, settings: KubernetesSettings, said: DispatchersSettings, owner: Document) -> Document:
    """What KEDA scales the Deployment by: the open jobs that management tells on its page of figures."""
    after_s = math.ceil(said.replicas.down_after_s)
    behavior = {"scaleDown": {"stabilizationWindowSeconds": min(after_s, _WINDOW_MOST_S)}}
    trigger = {
        "type": "metrics-api",
        "metadata": {
            "url": f"{said.figures.rstrip('/')}/open/{wanted.module}",
            "valueLocation": "open",
            "targetValue": str(said.per_replica),
        },
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _beside(wanted, settings, owner),
        "spec": {
            "scaleTargetRef": {"name": owner["metadata"]["name"]},
            "minReplicaCount": said.replicas.min,
            "maxReplicaCount": wanted.most,
            "pollingInterval": _POLL_S,
            "cooldownPeriod": after_s,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [trigger],
        },
    }


def _beside(wanted: Wanted, settings: KubernetesSettings, owner: Document) -> Document:
    """The metadata of what goes with a Deployment, and has its name."""
    about = owner["metadata"]
    return {
        "name": about["name"],
        "namespace": about["namespace"],
        "labels": {**labels_of(settings.instance), MODULE: label_value(wanted.module)},
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": about["name"], "uid": about["uid"]}
        ],
    }


def _template(
    wanted: Wanted, settings: KubernetesSettings, said: DispatchersSettings, labels: dict[str, str]
) -> Document:
    template = {
        "metadata": {"labels": labels, "annotations": {CONFIGURATION: wanted.basis}},
        "spec": {
            "containers": [_container(wanted.module, settings, said)],
            "volumes": [
                {"name": "configuration", "configMap": {"name": said.config_map}},
                {"name": "state", "emptyDir": {}},
                {"name": "scratch", "emptyDir": {}},
            ],
            **_surroundings(settings, said),
        },
    }
    try:
        made = merge(template, said.pod_template)
    except InvalidError as error:
        raise InvalidError(f"kubernetes.dispatchers.podTemplate: {error}") from error
    if not labels.items() <= made.get("metadata", {}).get("labels", {}).items():
        raise InvalidError("kubernetes.dispatchers.podTemplate changes a label of Ion's own; leave those as they are")
    if CONTAINER not in [one["name"] for one in made.get("spec", {}).get("containers") or ()]:
        raise InvalidError(f"kubernetes.dispatchers.podTemplate takes the container {CONTAINER} away; keep it")
    return made


def _surroundings(settings: KubernetesSettings, said: DispatchersSettings) -> Document:
    pull = [{"name": secret} for secret in dict.fromkeys(settings.image_pull_secrets)]
    return {
        "terminationGracePeriodSeconds": STOP_S,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        **({"serviceAccountName": said.service_account} if said.service_account else {}),
        **({"imagePullSecrets": pull} if pull else {}),
    }


def _container(module: str, settings: KubernetesSettings, said: DispatchersSettings) -> Document:
    return {
        "name": CONTAINER,
        "image": said.image or settings.handler_image or HANDLER_IMAGE,
        "args": ["dispatcher", "start", f"{FOLDER}/{FILE}", "--module", module],
        "env": [{"name": "ION_HOME", "value": STATE}],
        **({"envFrom": [{"secretRef": {"name": said.secret}}]} if said.secret else {}),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "readinessProbe": _probe("/healthz", every_s=5, fails=3),
        "livenessProbe": _probe("/livez", every_s=20, fails=6),
        "resources": said.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": FOLDER, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "scratch", "mountPath": SCRATCH},
        ],
    }


def _probe(path: str, *, every_s: int, fails: int) -> Document:
    request = {"path": path, "port": "metrics", "scheme": "HTTP"}
    return {"httpGet": request, "periodSeconds": every_s, "timeoutSeconds": 5, "failureThreshold": fails}
