"""What people lay over a job's pod, and what must still hold then.

A module's own keys come first, then the setting's template, then the module's, all as strategic merge patches. A pod
that does not run the three containers in order, or shows the job's Secret to the module, would lose events or give away
a credential without a word: so it is refused, before anything is made.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ion.adapters.executors.kubernetes.containers import COMMIT, HANDLER, ION, MODULE, PREPARE
from ion.adapters.executors.kubernetes.merge import merge
from ion.adapters.executors.kubernetes.settings import KubernetesSettings, ModuleOptions
from ion.errors import InvalidError

_LONGEST_S = 2**31 - 1
_KEYS = ("metadata", "spec", "$patch")


def overridden(
    template: Mapping[str, Any], settings: KubernetesSettings, options: ModuleOptions, module: str
) -> dict[str, Any]:
    """The template under all patches. Raises InvalidError, naming the one that is wrong."""
    patches = {
        f"module {module}: what its kubernetes settings say": _patch_of(options),
        "kubernetes.podTemplate": settings.pod_template,
        f"module {module}: its kubernetes.podTemplate": options.pod_template,
    }
    made = dict(template)
    for whose, patch in patches.items():
        made = _patched(made, patch, whose) if patch else made
        if broken := next(_broken(template, made), None):
            raise InvalidError(f"{whose} breaks the pod: {broken}")
    return made


def _patched(made: Mapping[str, Any], patch: Mapping[str, Any], whose: str) -> dict[str, Any]:
    if strange := [key for key in patch if key not in _KEYS]:
        raise InvalidError(f"{whose} has the key '{strange[0]}', and a template has metadata and spec; move it there")
    try:
        return merge(made, patch)
    except InvalidError as error:
        raise InvalidError(f"{whose} cannot be used: {error}") from error


def _patch_of(options: ModuleOptions) -> dict[str, Any]:
    """The patch that a module's own keys are."""
    mounted = {"name": MODULE, "volumeMounts": options.volume_mounts}
    said = {
        "serviceAccountName": options.service_account,
        "imagePullSecrets": [{"name": secret} for secret in options.image_pull_secrets],
        "nodeSelector": options.node_selector,
        "tolerations": list(options.tolerations),
        "affinity": options.affinity,
        "priorityClassName": options.priority_class,
        "volumes": options.volumes,
        "initContainers": [mounted] if options.volume_mounts else [],
    }
    spec = {key: value for key, value in said.items() if value}
    return {"spec": spec} if spec else {}


def _broken(ours: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[str]:
    """What does not hold any more, each a clause that says what to do."""
    labels = made.get("metadata", {}).get("labels") or {}
    if lost := [name for name, value in ours["metadata"]["labels"].items() if labels.get(name) != value]:
        yield f"the label {lost[0]} is Ion's; leave it as it is"
    spec = made.get("spec") or {}
    yield from _broken_fields(ours["spec"], spec)
    yield from _broken_order(spec)
    yield from _broken_volumes(ours["spec"], spec)
    for container in _all(ours["spec"]):
        yield from _broken_container(container, _named(spec).get(container["name"], {}))
    for container in _all(spec):
        if container["name"] not in (PREPARE, COMMIT) and HANDLER in _mounted(container).values():
            yield f"container {container['name']} mounts the volume {HANDLER}, which is for prepare and commit alone"


def _broken_fields(ours: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("restartPolicy") != ours["restartPolicy"]:
        yield "restartPolicy must be Never, for the dispatcher decides about further attempts"
    deadline = spec.get("activeDeadlineSeconds")
    if not isinstance(deadline, int) or not 0 < deadline <= _LONGEST_S:
        yield "activeDeadlineSeconds must be there, for no attempt may last for ever"


def _broken_order(spec: Mapping[str, Any]) -> Iterator[str]:
    """The init containers run one after the other."""
    first = [container["name"] for container in spec.get("initContainers") or ()]
    main = [container["name"] for container in spec.get("containers") or ()]
    for name, among in ((PREPARE, first), (MODULE, first), (COMMIT, main)):
        if name not in among:
            yield f"the container {name} is gone; keep it"
    if PREPARE in first and MODULE in first and first.index(PREPARE) > first.index(MODULE):
        yield "prepare comes after module; name them in the order prepare, module"
    if more := [name for name in main if name != COMMIT]:
        yield f"the container {more[0]} runs beside commit, and the pod would not end with it; make it an initContainer"


def _broken_volumes(ours: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    found = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for volume in ours["volumes"]:
        if volume["name"] == HANDLER and found.get(HANDLER) != volume:
            yield f"the volume {HANDLER} is the job's own Secret; leave it as it is"
        elif volume["name"] not in found:
            yield f"the volume {volume['name']} is gone; keep it"


def _broken_container(ours: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[str]:
    name = ours["name"]
    if name != MODULE and made.get("command") != ours["command"]:
        yield f"the command of container {name} must be `{' '.join(ours['command'])}`"
    if name != MODULE and made.get("args"):
        yield f"container {name} has args; take them out"
    mounted = _mounted(made)
    for path, volume in _mounted(ours).items():
        if volume in (ION, HANDLER) and mounted.get(path) != volume:
            yield f"container {name} must have the volume {volume} at {path}"


def _mounted(container: Mapping[str, Any]) -> dict[str, str]:
    """Which volume is where in a container."""
    return {mount["mountPath"]: mount.get("name", "") for mount in container.get("volumeMounts") or ()}


def _all(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _named(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {container["name"]: container for container in _all(spec)}
