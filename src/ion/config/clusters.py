"""Kubernetes in the pipeline file: the cluster at the top, and what one module says about its pods.

The keys are written as Kubernetes writes its own. What a module says stays JSON, for the executor to read: here it is
only made sure that it is what may stand there.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ion.adapters.deployments.kubernetes.settings import DispatchersSettings, Replicas
from ion.adapters.executors.kubernetes.settings import KubernetesSettings, ModuleOptions
from ion.config.kinds import FILLED, Duration, Flag, Free, Located, Location, Text, Whole
from ion.config.tables import Field, Many, Named, Section
from ion.errors import InvalidError

_NAMES = Many(item=FILLED, single=True)
REPLICAS_MOST = 1000

_REPLICAS = Section(
    name="dispatcher_replicas",
    doc="How many dispatchers a module may have.",
    struct=Replicas,
    build=Replicas,
    fields={
        "min": Field(kind=Whole(most=1), doc="With 0 there is none while there is nothing to do."),
        "max": Field(kind=Whole(least=1, most=REPLICAS_MOST), doc="No more than so many."),
        "downAfter": Field(
            kind=Duration(), doc="There are fewer once there has been less to do for so long: 60s.", into="down_after_s"
        ),
    },
)

DISPATCHERS = Section(
    name="dispatchers",
    doc="The dispatchers that `ion management start` makes in the cluster: a Deployment for every module.",
    struct=DispatchersSettings,
    build=DispatchersSettings,
    fields={
        "image": Field(kind=FILLED, doc="Ion's image; else the handlerImage."),
        "serviceAccount": Field(kind=FILLED, doc="Whose account they have, to make Jobs with.", into="service_account"),
        "configMap": Field(kind=FILLED, doc="The ConfigMap whose key ion.yaml is this file.", into="config_map"),
        "secret": Field(kind=FILLED, doc="The Secret whose keys become their variables: the connections."),
        "replicas": Field(kind=_REPLICAS, doc="How many there may be."),
        "perReplica": Field(kind=Whole(least=1), doc="How many open jobs one dispatcher is for.", into="per_replica"),
        "figures": Field(
            kind=Text(pattern=r"https?://\S+", wants="a URL"),
            doc="The URL of management's metrics port: KEDA scales, if it is there.",
        ),
        "resources": Field(kind=Free(), doc="Their requests and limits, as in a pod."),
        "podTemplate": Field(
            kind=Free(), doc="{metadata, spec}, laid over their pods (a strategic merge).", into="pod_template"
        ),
    },
)


def _cluster(*, kubeconfig: Location | None = None, **values: Any) -> KubernetesSettings:
    return KubernetesSettings(kubeconfig=kubeconfig.path if kubeconfig else "", **values)


KUBERNETES = Section(
    name="kubernetes",
    doc="The cluster where modules with `provider: kubernetes` run; needs ion-events[kubernetes].",
    struct=KubernetesSettings,
    build=_cluster,
    fields={
        "namespace": Field(kind=FILLED, doc="Where jobs are made; else the context's, or that of Ion's own pod."),
        "context": Field(kind=FILLED, doc="The context of the kubeconfig; else its current one."),
        "kubeconfig": Field(kind=Located(), doc="The kubeconfig; else Ion's own pod's account, KUBECONFIG or ~/.kube."),
        "instance": Field(kind=FILLED, doc="Tells this Ion's jobs from those of another in the namespace."),
        "handlerImage": Field(
            kind=FILLED, doc="The image that prepares and commits; else this version's.", into="handler_image"
        ),
        "imagePullSecrets": Field(kind=_NAMES, doc="Secrets with which images are pulled.", into="image_pull_secrets"),
        "serviceAccount": Field(
            kind=FILLED, doc="Whose account the pods have; no token of it is mounted.", into="service_account"
        ),
        "hostNetwork": Field(kind=Flag(), doc="Whether pods are in their node's network.", into="host_network"),
        "podTemplate": Field(
            kind=Free(), doc="{metadata, spec}, laid over every pod (a strategic merge).", into="pod_template"
        ),
        "slack": Field(
            kind=Duration(), doc="What prepare and commit may take before a pod is ended: 10m.", into="slack_s"
        ),
        "pullDeadline": Field(
            kind=Duration(),
            doc="How long an image that cannot be pulled, or a missing Secret, is waited for: 5m.",
            into="pull_deadline_s",
        ),
        "kept": Field(kind=Duration(), doc="How long a Job is kept that no dispatcher removes: 1d.", into="kept_s"),
        "dispatchers": Field(kind=DISPATCHERS, doc="Makes a Deployment of dispatchers for every module here."),
    },
)


def _said(**values: Any) -> dict[str, Any]:
    """What a module says, as JSON."""
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    try:
        msgspec.convert(said, ModuleOptions)
    except msgspec.ValidationError as error:
        raise InvalidError(str(error)) from error
    return said


_OBJECTS = Many(item=Free())
MODULE_KUBERNETES = Section(
    name="module_kubernetes",
    doc="What a module says about its pods on Kubernetes.",
    build=_said,
    fields={
        "handlerImage": Field(kind=FILLED, doc="The image that prepares and commits, for this module."),
        "imagePullSecrets": Field(kind=_NAMES, doc="Further Secrets with which images are pulled."),
        "serviceAccount": Field(kind=FILLED, doc="Whose account its pods have."),
        "nodeSelector": Field(kind=Named(value=Text()), doc="Labels that a node must have."),
        "tolerations": Field(kind=_OBJECTS, doc="Taints of nodes that its pods bear."),
        "affinity": Field(kind=Free(), doc="Where its pods would rather be."),
        "priorityClass": Field(kind=FILLED, doc="The PriorityClass of its pods."),
        "volumes": Field(kind=_OBJECTS, doc="Further volumes of its pods."),
        "volumeMounts": Field(kind=_OBJECTS, doc="Where the module sees them."),
        "podTemplate": Field(kind=Free(), doc="{metadata, spec}, laid over its pods last (a strategic merge)."),
    },
)

SECRET_KEYS: Mapping[str, Field] = {
    "secret": Field(kind=FILLED, doc="On Kubernetes: the Secret in which it is; else that of its name."),
    "key": Field(kind=FILLED, doc="On Kubernetes: the key of it in that Secret; else `value`."),
}
