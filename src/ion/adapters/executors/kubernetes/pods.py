"""What a pod's document says, as facts: its containers in the order in which they run, its conditions, its times."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ion.adapters.executors.kubernetes.containers import MODULE, PREPARE

Document = Mapping[str, Any]


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container. `waiting` and `terminated` are as in the document, empty where it is not so. Times are in seconds
    since the epoch, 0 for not yet.
    """

    name: str
    image: str = ""
    waiting: dict[str, Any] = {}
    terminated: dict[str, Any] = {}
    started_at_s: float = 0.0
    ended_at_s: float = 0.0

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return bool(self.terminated) and not self.terminated.get("exitCode", 0)


def containers_of(pod: Document) -> dict[str, Container]:
    """The containers that run one after the other, by name; those of which the status tells nothing as well."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    told = {
        one["name"]: one for kind in ("initContainerStatuses", "containerStatuses") for one in status.get(kind) or ()
    }
    declared = [
        one
        for kind in ("initContainers", "containers")
        for one in spec.get(kind) or ()
        if one.get("restartPolicy") != "Always"  # a side-car never ends
    ]
    return {one["name"]: _container(one, told.get(one["name"], {})) for one in declared}


def _container(declared: Document, told: Document) -> Container:
    state = told.get("state") or {}
    running, terminated = state.get("running") or {}, state.get("terminated") or {}
    return Container(
        name=declared["name"],
        image=declared.get("image", ""),
        waiting=state.get("waiting") or {},
        terminated=terminated,
        started_at_s=time_s(running.get("startedAt") or terminated.get("startedAt")),
        ended_at_s=time_s(terminated.get("finishedAt")),
    )


def handler_and_module(containers: Mapping[str, Container]) -> tuple[Container, Container]:
    """Prepare and the module."""
    return containers.get(PREPARE, Container(name=PREPARE)), containers.get(MODULE, Container(name=MODULE))


def condition(pod: Document, kind: str, status: str) -> Document:
    """The pod's condition of this kind, if it has this status; else an empty one."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind and one.get("status") == status), {})


def created_s(document: Document) -> float:
    return time_s(document["metadata"].get("creationTimestamp"))


def goes_by_s(pod: Document) -> float:
    """When a pod that was told to go has to be gone; 0 if it was not told."""
    return time_s(pod["metadata"].get("deletionTimestamp"))


def told_to_go_s(pod: Document) -> float:
    """When it was told to go; 0 if it was not."""
    by_s = goes_by_s(pod)
    return by_s - (pod["metadata"].get("deletionGracePeriodSeconds") or 0) if by_s else 0.0


def time_s(text: str | None) -> float:
    """A time of the API in seconds since the epoch; 0 for none. A container that never ran has the epoch itself."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
