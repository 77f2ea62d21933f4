"""Whether pods and Jobs have ended: plain questions about their documents."""

from ion.adapters.executors.kubernetes.client import Document
from ion.adapters.executors.kubernetes.containers import COMMIT, MODULE, PREPARE

CONTAINERS = (PREPARE, MODULE, COMMIT)
"""In the order in which they run."""


def state_of(pod: Document, container: str) -> tuple[str, Document]:
    """`waiting`, `running` or `terminated` with what goes with it; an empty word where nothing is told of it."""
    status = pod.get("status") or {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if one["name"] == container:
            for word in ("terminated", "running", "waiting"):
                if one.get("state", {}).get(word) is not None:
                    return word, one["state"][word]
    return "", {}


def is_over(pod: Document) -> bool:
    """Whether nothing of it will run any more, by its own word."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def has_begun(pod: Document) -> bool:
    """Whether its module runs, and nobody has told it to go."""
    return state_of(pod, MODULE)[0] == "running" and not is_going(pod) and not is_over(pod)


def has_ended(pod: Document) -> bool:
    """Whether it is over and none of its containers is still ending.

    An old kubelet says `Failed` before, of a pod that it ends itself, and may never tell of the containers' end.
    """
    return is_over(pod) and all(state_of(pod, name)[0] != "running" for name in CONTAINERS)


def has_stopped(pod: Document) -> bool:
    """Whether it was told to go, and none of its containers runs or may just have begun to."""
    words = [state_of(pod, name)[0] for name in CONTAINERS]
    began = words[0] in ("", "waiting") or words[1] == "terminated"
    return is_going(pod) and "running" not in words and began


def grace_s(pod: Document) -> float:
    """How many seconds its containers have to end."""
    return float(pod["spec"].get("terminationGracePeriodSeconds") or 0)


def has_failed(pod: Document) -> bool:
    """Whether one of its containers ended badly, though the pod may not say so yet."""
    ends = [state_of(pod, name) for name in CONTAINERS]
    return any(word == "terminated" and said.get("exitCode") for word, said in ends)


def is_going(pod: Document) -> bool:
    """Whether it was told to go."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def has_finished(job: Document) -> bool:
    """Whether a Job makes no more pods."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    done = any(one.get("type") in ("Complete", "Failed") and one.get("status") == "True" for one in conditions)
    return done or bool(job["metadata"].get("deletionTimestamp"))
