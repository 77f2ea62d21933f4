"""How an attempt stands, read from the status of its pod. A pure function of the document, the module and the time.

What a pod says at its end is weighed in this order: a commit that ended well has succeeded, whatever befell the pod
afterwards; then what the platform did to the pod as a whole; then the first container that ended badly. A pod that does
not get on is given its time (`waiting`).
"""

from collections.abc import Mapping

import msgspec

from ion.adapters.executors import ends
from ion.adapters.executors.kubernetes import failures
from ion.adapters.executors.kubernetes.containers import COMMIT
from ion.adapters.executors.kubernetes.pods import (
    Container,
    Document,
    condition,
    containers_of,
    goes_by_s,
    handler_and_module,
    time_s,
    told_to_go_s,
)
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.adapters.executors.kubernetes.told import told
from ion.adapters.executors.kubernetes.waiting import Wait, waits
from ion.model.job import Failure
from ion.model.module import Module
from ion.ports.executor import Phase

_OVERDUE_S = 60.0
"""How long after a deleted pod should have gone its node counts as gone too."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt stands by one pod. Times are in seconds since the epoch by the cluster's clocks, 0 for not yet.

    With FAILED comes `failure`. `message` says what a pending one waits for, where that is worth telling; it fails at
    `fails_at_s` if nothing changes. `execution` is told by prepare; `manifest`, the blob path, by commit: it may be
    empty although it SUCCEEDED, then it has to be looked for. The module ran from `started_at_s` to `ended_at_s`.
    """

    phase: Phase
    failure: Failure | None = None
    message: str = ""
    fails_at_s: float = 0.0
    execution: str = ""
    manifest: str = ""
    started_at_s: float = 0.0
    ended_at_s: float = 0.0
    node: str = ""


def see(pod: Document, module: Module, settings: KubernetesSettings, *, now_s: float, heard: str = "") -> Seen:
    """How the attempt stands by its pod.

    Args:
        pod: The pod as the API tells it.
        module: What runs in it.
        settings: Of the executor.
        now_s: Seconds since the epoch.
        heard: The last `message` of this pod. While an image is pulled again and again, the reason is not told always.
    """
    containers = containers_of(pod)
    (prepare, ours), commit = handler_and_module(containers), containers.get(COMMIT, Container(name=COMMIT))
    seen = Seen(
        phase=Phase.RUNNING if ours.started_at_s else Phase.PENDING,
        execution=told(commit.terminated).execution or told(prepare.terminated).execution,
        started_at_s=ours.started_at_s,
        ended_at_s=ours.ended_at_s,
        node=_node(pod),
    )
    if commit.done:
        return msgspec.structs.replace(seen, phase=Phase.SUCCEEDED, manifest=told(commit.terminated).manifest)
    if failure := _ended(pod, containers, module, now_s):
        return msgspec.structs.replace(seen, phase=Phase.FAILED, failure=failure)
    wait = waits(pod, module, settings, heard)
    return seen if wait is None else _waiting(seen, wait, now_s)


def without_pod(created_s: float, module: Module, *, now_s: float, why: str = "") -> Seen:
    """How it stands when its Job was made, at `created_s`, and has no pod yet. `why` is what the Job's events say."""
    reason = failures.said(why) or "Kubernetes does not say why; see the events of its Job"
    failure = failures.trouble(f"no pod was made for it within {module.start_timeout_s:g} s: {reason}")
    wait = Wait(failure=failure, until_s=created_s + module.start_timeout_s, told=False)
    return msgspec.structs.replace(_waiting(Seen(phase=Phase.PENDING), wait, now_s), message=failures.said(why))


def vanished(pod: Document | None) -> Failure:
    """The pod is gone without having ended, and nothing took its place. `pod` is what was last known of it."""
    if pod is None:
        return failures.lost("its Job and its pod are gone: somebody else deleted them")
    if target := condition(pod, "DisruptionTarget", "True"):
        return failures.lost(f"its pod was taken away ({target.get('reason')}): {failures.said(target.get('message'))}")
    return failures.lost("its pod is gone: it was deleted, or had to make room for another")


def _waiting(seen: Seen, wait: Wait, now_s: float) -> Seen:
    if now_s >= wait.until_s:
        return msgspec.structs.replace(seen, phase=Phase.FAILED, failure=wait.failure)
    message = wait.failure.message if wait.told else ""
    return msgspec.structs.replace(seen, message=message, fails_at_s=wait.until_s)


def _ended(pod: Document, containers: Mapping[str, Container], module: Module, now_s: float) -> Failure | None:
    status = pod.get("status") or {}
    reason, message = status.get("reason", ""), status.get("message", "")
    begun, failed = any(one.started_at_s for one in containers.values()), status.get("phase") in ("Failed", "Unknown")
    if failed and reason == "DeadlineExceeded":
        return _late(pod, containers, module, now_s)
    if failed and reason in failures.GONE:
        return failures.of_pod(reason, message, begun=begun)
    going_s = told_to_go_s(pod)
    for one in containers.values():
        if failure := failures.of_end(one.name, one.terminated):
            return vanished(pod) if _taken(pod, one, going_s) else failure
    if failed:
        return vanished(pod) if _taken(pod, None, going_s) else failures.of_pod(reason, message, begun=begun)
    if going_s and now_s > goes_by_s(pod) + _OVERDUE_S:
        return failures.lost(f"its pod was told to go, and its node {_node(pod)} does not answer")
    return None


def _taken(pod: Document, one: Container | None, going_s: float) -> bool:
    """Whether a container ended because its pod was taken away: then an old kubelet may not tell the time of it."""
    if going_s:
        return one is None or not one.ended_at_s or one.ended_at_s >= going_s
    return bool(condition(pod, "DisruptionTarget", "True"))


def _late(pod: Document, containers: Mapping[str, Container], module: Module, now_s: float) -> Failure:
    """The pod's own deadline passed, which is long enough for all: who took the time?"""
    _, ours = handler_and_module(containers)
    if ours.done and not _was_cut_short(pod, ours):
        return failures.trouble("commit did not end before its pod's deadline")
    if not ours.started_at_s:
        return failures.trouble("the module had not started at its pod's deadline: what comes before it took too long")
    ran_s = (ours.ended_at_s or now_s) - ours.started_at_s
    if ran_s >= module.timeout_s or pod["spec"].get("activeDeadlineSeconds", 0) < module.timeout_s:
        return ends.late(module)
    return failures.trouble(f"its pod's deadline passed when the module had run {ran_s:g} s: prepare took too long")


def _was_cut_short(pod: Document, ours: Container) -> bool:
    """Whether the module ended because the deadline passed: told to go, it may have ended well."""
    began_s, most_s = time_s(pod["status"].get("startTime")), pod["spec"].get("activeDeadlineSeconds")
    return bool(began_s and most_s) and ours.ended_at_s >= began_s + most_s


def _node(pod: Document) -> str:
    return str(pod.get("spec", {}).get("nodeName", ""))
