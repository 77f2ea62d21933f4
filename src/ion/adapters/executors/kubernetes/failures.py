"""How attempts end badly on Kubernetes: which class of failure it is, and one sentence about it.

The sentences about a module's own end are those that it would get on one machine.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

import re
import signal
from collections.abc import Mapping
from typing import Any

from ion.adapters.executors.ends import sentence
from ion.adapters.executors.kubernetes.containers import MODULE, SCRATCH
from ion.adapters.executors.kubernetes.told import failure_told
from ion.model.job import Failure, FailureClass

GONE = {"Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated"}
"""Reasons of a pod's end that are the node's doing."""
PULLING = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
MAKING = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "InvalidImageName",
    "PostStartHookError",
    "PreCreateHookError",
    "PreStartHookError",
    "RunContainerError",
}
"""Why a container waits that will not run unless somebody mends something."""
_NOT_STARTED = {"ContainerCannotRun", "RunContainerError", "StartError"}
_NO_PROGRAM = re.compile(r'exec: "[^"]*": |exec format error')
"""How a runtime says that it is the command that cannot be run."""
_OVER_LIMIT = re.compile(
    r'EmptyDir volume "(?P<volume>[^"]*)" exceeds|exceeded its local ephemeral storage limit|'
    r"ephemeral local storage usage exceeds the total limit",
    re.IGNORECASE,
)
"""A node evicts a pod for what it did itself, too: it has more on the disk than its own limits allow."""
_UNKNOWN = "ContainerStatusUnknown"
_MESSAGE_MOST = 1000


def of_end(container: str, terminated: Mapping[str, Any]) -> Failure | None:
    """What a container's end says; None if it ended well."""
    if not terminated.get("exitCode", 0):
        return None
    if terminated.get("reason") == _UNKNOWN:
        return lost(f"the end of container {container} was not seen: {said(terminated.get('message'))}")
    return _of_module(terminated) if container == MODULE else _of_ours(container, terminated)


def _of_module(terminated: Mapping[str, Any]) -> Failure:
    reason, code = terminated.get("reason", ""), _signed(terminated["exitCode"])
    if reason in _NOT_STARTED:
        message = said(terminated.get("message")) or f"exit code {code}"
        kind = FailureClass.CONTRACT if _NO_PROGRAM.search(message) else FailureClass.INFRASTRUCTURE
        return Failure(kind=kind, message=f"the module could not be started: {message}")
    kind, message = FailureClass.MODULE, sentence(code)
    if reason == "OOMKilled":
        kind, message = FailureClass.MEMORY, f"{message}: out of memory"
    elif code == -signal.SIGKILL:  # no module does that to itself: it is as if the node had gone
        kind, message = FailureClass.LOST, f"{message}, by hand or by another program of its node"
    return Failure(kind=kind, message=message, exit_code=code)


def _of_ours(container: str, terminated: Mapping[str, Any]) -> Failure:
    """The handler's end, or that of a container which somebody added: never the module's fault but by its own word."""
    if failure := failure_told(terminated):
        return failure
    reason, code = terminated.get("reason", ""), _signed(terminated["exitCode"])
    if reason in _NOT_STARTED:
        return trouble(f"container {container} could not be started: {said(terminated.get('message'))}")
    if reason == "OOMKilled":
        return trouble(f"container {container} ran out of memory; raise its memory limit by a podTemplate")
    return trouble(f"container {container} ended with {sentence(code)} and did not say why; see its log")


def of_pod(reason: str, message: str, *, begun: bool) -> Failure:
    """What the end of a whole pod says, by the reason in its status; `begun`: a container of it ran."""
    told = said(message) or "its node does not say why"
    if reason == "Evicted" and (over := _OVER_LIMIT.search(message)):
        kind = FailureClass.INFRASTRUCTURE if over["volume"] == SCRATCH else FailureClass.MODULE
        return Failure(kind=kind, message=f"it needed more disk than it may have (resources.disk): {told}")
    if reason in GONE:
        return lost(f"its pod was ended by its node ({reason}): {told}")
    if begun:
        return lost(f"its pod failed ({reason or 'no reason'}): {told}")
    return trouble(f"its node refused its pod ({reason or 'no reason'}): {told}")


def of_image(container: str, image: str, reason: str, message: str) -> Failure:
    """A container that cannot be made."""
    told = said(message) or reason
    if reason == "InvalidImageName":
        kind = FailureClass.CONTRACT if container == MODULE else FailureClass.INFRASTRUCTURE
        return Failure(kind=kind, message=f"{image!r} cannot be an image's name: {told}")
    if reason in PULLING:
        return trouble(f"the image {image} cannot be pulled: {told}")
    return trouble(f"container {container} cannot be made ({reason}): {told}")


def lost(message: str) -> Failure:
    return Failure(kind=FailureClass.LOST, message=message)


def trouble(message: str) -> Failure:
    return Failure(kind=FailureClass.INFRASTRUCTURE, message=message)


def said(message: object) -> str:
    """A message of Kubernetes as one line that can be shown."""
    line = " ".join(str(message or "").split())
    return line if len(line) <= _MESSAGE_MOST else f"{line[:_MESSAGE_MOST]}…"


def _signed(code: int) -> int:
    """An exit code as it is told everywhere in Ion: negative for a signal."""
    return 128 - code if 128 < code <= 128 + signal.SIGRTMAX else code
