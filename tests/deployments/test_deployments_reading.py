"""What a Deployment and its pods say, as a word and a sentence. What real ones say is tested on the cluster."""

from typing import Any

import pytest

from ion.adapters.deployments.kubernetes.reading import deployed

FULL = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "it timed out"}
QUOTA = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: tight"}


def document(status: dict[str, Any], replicas: int = 2, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"uid": "u", "generation": 3, "annotations": {"ion.dev/module-name": "detect"}},
        "spec": {"replicas": replicas},
        "status": {**status, "conditions": list(conditions)},
    }


def waiting(reason: str, message: str = "", ended: str = "") -> dict[str, Any]:
    """A pod whose container waits."""
    container: dict[str, Any] = {"state": {"waiting": {"reason": reason, "message": message}}}
    if ended:
        container["lastState"] = {"terminated": {"message": ended}}
    return {"status": {"containerStatuses": [container]}}


@pytest.mark.parametrize(
    ("status", "standing", "message"),
    [
        (FULL, "ready", ""),
        ({**FULL, "observedGeneration": 2}, "deploying", "2 of 2 dispatchers are ready"),
        ({**FULL, "updatedReplicas": 1}, "deploying", "1 of 2 dispatchers are ready"),
        ({**FULL, "replicas": 3}, "deploying", "2 of 2 dispatchers are ready"),
        ({}, "deploying", "0 of 2 dispatchers are ready"),
    ],
)
def test_it_is_ready_when_all_that_is_wanted_is_there(status: dict[str, Any], standing: str, message: str) -> None:
    """All of the newest template, none of an older one, and the controller has seen what is wanted."""
    found = deployed(document(status))
    assert (found.module, found.standing, found.message) == ("detect", standing, message)


def test_none_is_wanted() -> None:
    """That is no failure."""
    assert deployed(document({}, 0)).standing == "idle"


@pytest.mark.parametrize("condition", [STUCK, QUOTA])
def test_a_condition_tells_of_a_failure(condition: dict[str, Any]) -> None:
    """In its own words."""
    found = deployed(document({}, 2, condition))
    assert (found.standing, found.message) == ("failed", condition["message"])


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (waiting("ImagePullBackOff", "no such image"), "ImagePullBackOff: no such image"),
        (waiting("CrashLoopBackOff", "back-off 10s", "Error: no\n"), "CrashLoopBackOff: Error: no"),
        (waiting("CreateContainerConfigError", ""), "CreateContainerConfigError"),
        (
            {"status": {"conditions": [{"reason": "Unschedulable", "message": "0/1 nodes"}]}},
            "no node has room for a dispatcher: 0/1 nodes",
        ),
    ],
)
def test_a_pod_tells_why_it_does_not_start(pod: dict[str, Any], message: str) -> None:
    """Before the Deployment itself gives up, which takes minutes."""
    found = deployed(document({}), [waiting("ContainerCreating"), pod])
    assert (found.standing, found.message) == ("failed", message)


def test_a_pod_that_starts_is_no_trouble() -> None:
    """Nor is one on a Deployment that is ready."""
    assert deployed(document({}), [waiting("ContainerCreating")]).standing == "deploying"
    assert deployed(document(FULL), [waiting("ImagePullBackOff")]).standing == "ready"
