"""An attempt as a Job of Kubernetes: one pod, tried once, that prepares, runs the module, and commits.

Everything here is a pure function of the assignment and the settings. Nothing of it needs a server newer than 1.20: no
pod failure policy, no suspension, no native side-cars. How often an attempt is tried, and when, is the ledger's to say,
so the Job has no back-off; its time limit is the pod's, for the Job's own would delete the pod, and its log with it.
"""

import math
from datetime import UTC, datetime
from typing import Any

from ion.adapters.executors.kubernetes.containers import (
    COMMIT,
    MODULE,
    PREPARE,
    handler_container,
    module_container,
    volumes,
)
from ion.adapters.executors.kubernetes.names import NETWORK, job_labels, job_name, module_config
from ion.adapters.executors.kubernetes.overrides import overridden
from ion.adapters.executors.kubernetes.settings import HANDLER_IMAGE, KubernetesSettings, module_options
from ion.model.event import Event
from ion.model.job import Job
from ion.model.module import Module, Revision
from ion.ports.executor import Assignment

_REVISION = "ion.dev/revision"


def job_body(
    assignment: Assignment, settings: KubernetesSettings, *, namespace: str = "", owner_uid: str = "", ledger: str = ""
) -> dict[str, Any]:
    """The whole Job of an attempt. Its Secret has the same name, and is there before it.

    Args:
        assignment: The attempt.
        settings: What all pods have.
        namespace: Where it is to be; empty leaves that to the client.
        owner_uid: The uid of the module's ConfigMap (`names.module_config`), so that the Job goes when that does.
        ledger: The mark of the ledger that the attempt is of.

    Raises:
        InvalidError: what the module or the settings ask for cannot be; says what to change.
    """
    job, module = assignment.job, assignment.revision.module
    name, labels = job_name(job.id, job.attempt, ledger), job_labels(job, settings.instance, ledger)
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if namespace:
        metadata["namespace"] = namespace
    if owner_uid:
        metadata["ownerReferences"] = [_owner(module, settings.instance, owner_uid)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": math.ceil(settings.kept_s),
            "template": _template(assignment, settings, name, labels),
        },
    }


def check_module(revision: Revision, settings: KubernetesSettings) -> None:
    """Whether the module can be a pod at all, as far as can be told without the cluster: its keys, secrets, templates.

    Raises:
        InvalidError: it cannot; says what to change.
    """
    event = Event(id="", type="", source="", correlation_id="", parent_id="", time=datetime.fromtimestamp(0, UTC))
    job = Job(id=revision.id, module=revision.module.name, event=event, attempt=1)
    job_body(Assignment(job=job, revision=revision), settings)


def deadline_s(module: Module, settings: KubernetesSettings) -> int:
    """Seconds after which the pod is ended whatever it does.

    The dispatcher ends a module that is late, and an attempt that is past its deadline in the ledger, which is as long
    but begins earlier. This is for when no dispatcher is there to do so.
    """
    return math.ceil(module.start_timeout_s + module.timeout_s + module.grace_s + settings.slack_s)


def _template(
    assignment: Assignment, settings: KubernetesSettings, name: str, labels: dict[str, str]
) -> dict[str, Any]:
    """The pod, with all overrides."""
    module = assignment.revision.module
    options = module_options(module.name, module.kubernetes)
    annotations = {"kubectl.kubernetes.io/default-container": MODULE, _REVISION: assignment.revision.id}
    handler = options.handler_image or settings.handler_image or HANDLER_IMAGE
    template = {
        "metadata": {"labels": labels if module.network else {**labels, NETWORK: "none"}, "annotations": annotations},
        "spec": {
            "initContainers": [handler_container(PREPARE, handler), module_container(assignment, settings.secrets)],
            "containers": [handler_container(COMMIT, handler)],
            "volumes": volumes(module, name),
            **_surroundings(module, settings),
        },
    }
    return overridden(template, settings, options, module.name)


def _surroundings(module: Module, settings: KubernetesSettings) -> dict[str, Any]:
    pull = [{"name": secret} for secret in dict.fromkeys(settings.image_pull_secrets)]
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": deadline_s(module, settings),
        "terminationGracePeriodSeconds": math.ceil(module.grace_s),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"serviceAccountName": settings.service_account} if settings.service_account else {}),
        **({"imagePullSecrets": pull} if pull else {}),
        **({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if settings.host_network else {}),
    }


def _owner(module: Module, instance: str, uid: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": module_config(module.group, instance), "uid": uid}
