"""Strategic merge patch over a pod template, on plain dicts.

A mapping is merged key by key, and `null` takes a key away. Lists that Kubernetes merges are merged by the key that
tells their entries apart (`name` of a container, `mountPath` of a mount); any other list is replaced whole, tolerations
and commands among them. Directives: `$patch: replace` in a mapping or as an entry of a list keeps nothing of what was
there; `$patch: delete` in an entry takes that entry away, in a mapping all of it; `$retainKeys` names the keys of a
mapping that stay.

The order of a merged list is the patch's for the entries that it names; each other entry keeps its place before the
first named one that it stood before. So a new container comes first, and one that is to run between two others is named
between them.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ says of each list how it is merged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ion.errors import InvalidError

_CONTAINER = {"env": "name", "ports": "containerPort", "volumeDevices": "devicePath", "volumeMounts": "mountPath"}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
MERGE_KEYS: Mapping[tuple[str, ...], str] = {
    ("metadata", "ownerReferences"): "uid",
    ("spec", "hostAliases"): "ip",
    ("spec", "imagePullSecrets"): "name",
    ("spec", "resourceClaims"): "name",
    ("spec", "schedulingGates"): "name",
    ("spec", "topologySpreadConstraints"): "topologyKey",
    ("spec", "volumes"): "name",
    **{("spec", kind): "name" for kind in _CONTAINERS},
    **{("spec", kind, name): key for kind in _CONTAINERS for name, key in _CONTAINER.items()},
}
"""The lists of a pod template that are merged, and by which key; lists on the way are left out of a path."""

_PATCH, _RETAIN = "$patch", "$retainKeys"


def merge(original: Mapping[str, Any], patch: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the patch makes of the original; neither is changed.

    Raises:
        InvalidError: a directive is not known, or an entry of a merged list lacks its key.
    """
    directive, kept = patch.get(_PATCH), dict(original)
    if directive == "delete":
        return {}
    if directive == "replace":
        kept = {}
    elif directive not in (None, "merge"):
        raise InvalidError(f"{_dotted(path)}: $patch is merge, replace or delete, not {directive!r}")
    if (retained := patch.get(_RETAIN)) is not None:
        kept = {key: value for key, value in kept.items() if key in retained}
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN):
            continue
        if key.startswith("$"):
            raise InvalidError(f"{_dotted(path)}: there is no directive {key}; there are $patch and $retainKeys")
        kept = _with(kept, key, value, (*path, key))
    return kept


def _with(original: dict[str, Any], key: str, value: Any, path: tuple[str, ...]) -> dict[str, Any]:
    """The mapping with a value of the patch at a key."""
    if value is None or (isinstance(value, Mapping) and value.get(_PATCH) == "delete"):
        return {name: other for name, other in original.items() if name != key}
    present = original.get(key)
    if path in MERGE_KEYS:
        value = _merged_list(present or (), value, path)
    elif isinstance(value, Mapping):
        value = merge(present if isinstance(present, Mapping) else {}, value, path)
    return {**original, key: value}


def _merged_list(present: Sequence[Any], patch: Any, path: tuple[str, ...]) -> list[Any]:
    if not isinstance(patch, list | tuple):
        raise InvalidError(f"{_dotted(path)} is a list; write its entries with dashes")
    entries = [entry for entry in patch if entry != {_PATCH: "replace"}]
    base = {_key(entry, path): entry for entry in (present if len(entries) == len(patch) else ())}
    named: dict[Any, Any] = {}
    for entry in entries:
        key = _key(entry, path)
        if entry.get(_PATCH) == "delete":
            base.pop(key, None)
        else:
            named[key] = merge(named.get(key, base.get(key, {})), entry, path)
    return _ordered(base, named)


def _ordered(base: Mapping[Any, Any], named: Mapping[Any, Any]) -> list[Any]:
    """The entries that the patch names in its order; each other one before the first of them that it stood before."""
    places = {key: place for place, key in enumerate(base)}
    others = [key for key in base if key not in named]
    merged: list[Any] = []
    for key, entry in named.items():
        while key in places and others and places[others[0]] < places[key]:
            merged.append(base[others.pop(0)])
        merged.append(entry)
    return [*merged, *(base[key] for key in others)]


def _key(entry: Any, path: tuple[str, ...]) -> Any:
    name = MERGE_KEYS[path]
    if not isinstance(entry, Mapping) or name not in entry or isinstance(entry[name], Mapping | list | tuple):
        raise InvalidError(f"an entry of {_dotted(path)} has no {name}; it tells the entries apart, so write it")
    return entry[name]


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the template"
