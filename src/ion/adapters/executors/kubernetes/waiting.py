"""What a pod waits for, and until when.

All waiting until the module runs may take its `start_timeout` together, which is no time of its own: the pod is not
placed, a volume is not there, an image is being pulled. What will hardly pass by itself has less time, counted from the
moment when the container could have begun: an image that cannot be pulled, a Secret that is missing.
"""

import re
from collections.abc import Mapping

import msgspec

from ion.adapters.executors.kubernetes import failures
from ion.adapters.executors.kubernetes.containers import MODULE
from ion.adapters.executors.kubernetes.pods import (
    Container,
    Document,
    condition,
    containers_of,
    created_s,
    handler_and_module,
    time_s,
)
from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.model.job import Failure
from ion.model.module import Module

_NO_REASON = re.compile(r'Back-off pulling image "[^"]*"')
"""All that an old kubelet says between two tries."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The failure that this waiting becomes at `until_s` (since the epoch). `told`: it is worth telling before."""

    failure: Failure
    until_s: float
    told: bool = True


def waits(pod: Document, module: Module, settings: KubernetesSettings, heard: str = "") -> Wait | None:
    """What a pod waits for that has neither ended nor failed; None if something of it runs."""
    if unplaced := condition(pod, "PodScheduled", "False"):
        failure = failures.trouble(f"it could not be placed on a node: {failures.said(unplaced.get('message'))}")
        return Wait(failure=failure, until_s=created_s(pod) + module.start_timeout_s)
    containers = containers_of(pod)
    one = next((one for one in containers.values() if not one.done), None)
    if one is None or one.started_at_s:
        return None
    since_s = _since_s(pod, containers)
    until_s = since_s + _left_s(pod, containers, module)
    if one.waiting.get("reason") in failures.PULLING | failures.MAKING:
        return _stuck(one, since_s, until_s, settings, heard)
    failure = failures.trouble(f"container {one.name} did not start within {module.start_timeout_s:g} s")
    return Wait(failure=failure, until_s=until_s, told=False)


def _stuck(one: Container, since_s: float, until_s: float, settings: KubernetesSettings, heard: str) -> Wait:
    reason, message = one.waiting["reason"], one.waiting.get("message", "")
    failure = failures.of_image(one.name, one.image, reason, message)
    if _NO_REASON.fullmatch(message) and one.image in heard:
        failure = failures.trouble(heard)
    for_good = reason == "InvalidImageName" and one.name == MODULE
    return Wait(failure=failure, until_s=since_s if for_good else min(until_s, since_s + settings.pull_deadline_s))


def _since_s(pod: Document, containers: Mapping[str, Container]) -> float:
    """When the one before it ended, or the pod was placed."""
    placed_s = time_s(condition(pod, "PodScheduled", "True").get("lastTransitionTime"))
    return max((one.ended_at_s for one in containers.values()), default=0.0) or placed_s or created_s(pod)


def _left_s(pod: Document, containers: Mapping[str, Container], module: Module) -> float:
    """What is left of the start timeout: less what the pod waited before prepare, or before its placing."""
    prepare, ours = handler_and_module(containers)
    if ours.done:
        return module.start_timeout_s
    waited_s = (prepare.started_at_s or _since_s(pod, containers)) - created_s(pod)
    return max(0.0, module.start_timeout_s - waited_s)
