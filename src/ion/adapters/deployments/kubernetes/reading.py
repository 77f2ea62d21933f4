"""What a Deployment and its pods say about how they are, as a word and a sentence."""

from collections.abc import Iterable, Mapping
from typing import Any

from ion.adapters.deployments.kubernetes.manifest import MODULE_NAME
from ion.ports.deployments import DEPLOYING, FAILED, IDLE, READY, Deployed

Document = Mapping[str, Any]

_STARTING = ("ContainerCreating", "PodInitializing")


def deployed(document: Document, pods: Iterable[Document] = ()) -> Deployed:
    """How a Deployment stands; with its pods, why it is not ready."""
    about, spec = document["metadata"], document["spec"]
    standing, message = _standing(document)
    if standing in (DEPLOYING, FAILED) and (trouble := _first_trouble(pods)):
        standing, message = FAILED, trouble
    return Deployed(
        module=(about.get("annotations") or {}).get(MODULE_NAME, ""),
        replicas=spec.get("replicas", 1),
        version=version_of(document),
        standing=standing,
        message=message,
    )


def version_of(document: Document) -> str:
    """Another one whenever what the Deployment is to be was changed; what it is does not count."""
    about = document["metadata"]
    return f"{about['uid']}/{about['generation']}"


def _standing(document: Document) -> tuple[str, str]:
    wanted, status = document["spec"].get("replicas", 1), document.get("status") or {}
    if failure := _condition(document, "ReplicaFailure", "True"):
        return FAILED, _sentence(failure)
    if stuck := _condition(document, "Progressing", "False"):
        return FAILED, _sentence(stuck)
    if not wanted:
        return IDLE, "no dispatcher runs while there is nothing to do"
    seen = status.get("observedGeneration", 0) >= document["metadata"]["generation"]
    ready, new = status.get("availableReplicas", 0), status.get("updatedReplicas", 0)
    if seen and ready >= wanted and new >= wanted and status.get("replicas", 0) == new:
        return READY, ""
    return DEPLOYING, f"{min(ready, new)} of {wanted} dispatchers are ready"


def _condition(document: Document, kind: str, status: str) -> Document:
    conditions = (document.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind and one.get("status") == status), {})


def _sentence(condition: Document) -> str:
    return str(condition.get("message") or condition.get("reason", ""))


def _first_trouble(pods: Iterable[Document]) -> str:
    return next((trouble for pod in pods if (trouble := _trouble(pod))), "")


def _trouble(pod: Document) -> str:
    """Why a pod does not work, if it says so: it has no node, its image is not to be had, its program ends again and
    again.
    """
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("reason") == "Unschedulable":
            return f"no node has room for a dispatcher: {condition.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason and reason not in _STARTING:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            said = (ended.get("message") or "").strip() or waiting.get("message") or ""
            return f"{reason}: {said}" if said else reason
    return ""
