"""The keys of a module in a pipeline file, and what they become.

`MODULE` is the definition; `DEFAULTS` is the same table without what only a whole module must have. Decoding gives a
module's attributes, which `build_module` completes with what the pipeline knows: its name, folder and mounts.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ion.config.batches import MODULE_AZUREBATCH
from ion.config.clusters import MODULE_KUBERNETES
from ion.config.kinds import (
    FILLED,
    Choice,
    Cpu,
    Duration,
    Flag,
    Located,
    Location,
    Number,
    Size,
    Text,
    Whole,
)
from ion.config.module_kinds import CommandLine, Emitted, EventType, Filter
from ion.config.module_route import PRIORITY, PROVIDERS, ROUTE
from ion.config.settings import VARIABLE_NAME, MountSource
from ion.config.tables import Field, Many, Named, Section, Short
from ion.errors import InvalidError
from ion.model.module import Module, Mount, Resources, Retries, Subscription

NAME_PATTERN = r"[a-z][a-z0-9-]{0,39}"
NAME_WANTS = "a name of small letters, digits and dashes that begins with a letter, of at most 40 characters"
PVC = "pvc:"


def _subscription(*, type: str, filters: tuple[dict[str, Any], ...] = ()) -> Subscription:  # noqa: A002 - the key's name
    return Subscription(type=type, filters=filters)


ON = Many(
    single=True,
    item=Short(
        short=EventType(),
        widen=lambda type_: Subscription(type=type_),
        full=Section(
            name="subscription",
            doc="Events of one type that pass all filters.",
            build=_subscription,
            required=("type",),
            fields={
                "type": Field(kind=EventType(), doc="The event type."),
                "filters": Field(kind=Many(item=Filter()), doc="Filters that must all pass."),
            },
        ),
    ),
)


def _emitted(*, type: str) -> str:  # noqa: A002 - the key's name
    return type


EMITS = Many(
    single=True,
    item=Short(
        short=Emitted(),
        widen=lambda type_: type_,
        full=Section(
            name="emitted",
            doc="An event type that the module may raise.",
            build=_emitted,
            required=("type",),
            fields={"type": Field(kind=Emitted(), doc="The event type.")},
        ),
    ),
)

RESOURCES = Section(
    name="resources",
    doc="What one attempt needs.",
    build=Resources,
    fields={
        "cpu": Field(kind=Cpu(), doc="Processor cores: 2, 0.5 or 500m; one slot of the machine unless set."),
        "memory": Field(kind=Size(), doc="Memory: 512Mi, 4Gi."),
        "gpu": Field(kind=Whole(most=1024), doc="How many gpu devices."),
        "disk": Field(kind=Size(), doc="Disk for its files: 20Gi."),
        "shm": Field(kind=Size(), doc="Shared memory (/dev/shm): 1Gi."),
    },
)


class MemoryRetries(msgspec.Struct, frozen=True, kw_only=True):
    """`times` further attempts, each with `factor` times the memory of the one before."""

    times: int = 1
    factor: float = 1.0


def _retries(*, memory: MemoryRetries | None = None, **values: Any) -> Retries:
    more = MemoryRetries() if memory is None else memory
    retries = Retries(memory=more.times, memory_factor=more.factor, **values)
    if retries.backoff_s > retries.backoff_most_s:
        raise InvalidError(f"backoff is longer than backoff_most ({retries.backoff_most_s:g}s); raise backoff_most")
    return retries


TIMES = Whole(most=1_000_000)
RETRIES = Short(
    short=TIMES,
    widen=lambda times: Retries(module=times, timeout=times),
    full=Section(
        name="retries",
        doc="Further attempts after the first, counted by the class of the failure.",
        struct=Retries,
        build=_retries,
        fields={
            "module": Field(kind=TIMES, doc="After the program ended with an exit code other than 0."),
            "timeout": Field(kind=TIMES, doc="After it ran longer than its timeout."),
            "lost": Field(kind=TIMES, doc="After its machine went away."),
            "memory": Field(
                kind=Short(
                    short=TIMES,
                    widen=lambda times: MemoryRetries(times=times),
                    full=Section(
                        name="memory_retries",
                        doc="After it needed more memory than it may have.",
                        struct=MemoryRetries,
                        build=MemoryRetries,
                        fields={
                            "times": Field(kind=TIMES, doc="How often."),
                            "factor": Field(kind=Number(least=1.0), doc="Each with so many times the memory."),
                        },
                    ),
                ),
                doc="After it needed more memory than it may have.",
            ),
            "infrastructure": Field(
                kind=Duration(positive=False),
                doc="How long failures that are not the module's (image, quota, store) are retried: 24h.",
                into="infrastructure_s",
            ),
            "backoff": Field(kind=Duration(positive=False), doc="The first pause; it doubles.", into="backoff_s"),
            "backoff_most": Field(kind=Duration(positive=False), doc="The longest pause.", into="backoff_most_s"),
        },
    ),
)


class MountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A mount as written: its source may be a name of the pipeline's `mounts`, or a folder."""

    source: Location
    path: str


def _mount(*, source: Location, path: str) -> MountSpec:
    if ".." in path.split("/") or path in ("/", "/ion") or path.startswith("/ion/"):
        raise InvalidError(f"nothing can be mounted at {path}; choose a folder outside / and /ion, such as /models")
    return MountSpec(source=source, path=path.rstrip("/"))


MOUNT = Section(
    name="mount",
    doc="A folder that the module may read.",
    build=_mount,
    required=("source", "path"),
    fields={
        "source": Field(kind=Located(), doc="A name of the pipeline's mounts, or a folder, relative to this file."),
        "path": Field(kind=Text(pattern="/.*", wants="an absolute path"), doc="Where the module sees it."),
    },
)

FIELDS: Mapping[str, Field] = {
    "image": Field(kind=FILLED, doc="The container image."),
    "command": Field(
        kind=Short(short=CommandLine(), widen=lambda words: words, full=Many(item=Text())),
        doc="The program and its arguments; with an image it replaces the entrypoint.",
    ),
    "on": Field(kind=ON, doc="The event types that start it."),
    "emits": Field(kind=EMITS, doc="The event types that it may raise; any other is refused."),
    "env": Field(kind=Named(value=Text(), pattern=VARIABLE_NAME.pattern, wants=VARIABLE_NAME.wants), doc="Variables."),
    "secrets": Field(
        kind=Named(value=FILLED, pattern=VARIABLE_NAME.pattern, wants=VARIABLE_NAME.wants),
        doc="Variables whose value is a secret: the secret's name, never the secret.",
    ),
    "mounts": Field(kind=Many(item=MOUNT), doc="Folders that it may read."),
    "network": Field(kind=Flag(), doc="Whether it may use the network."),
    "resources": Field(kind=RESOURCES, doc="What one attempt needs."),
    "retries": Field(kind=RETRIES, doc="Further attempts after a failure; a number counts failures and time-outs."),
    "no_retry_on": Field(kind=Many(item=Whole(least=1, most=255), single=True), doc="Exit codes that are final."),
    "concurrency": Field(kind=Whole(least=1), doc="How many of its jobs run at once."),
    "timeout": Field(kind=Duration(), doc="How long one attempt may run: 1h.", into="timeout_s"),
    "start_timeout": Field(kind=Duration(), doc="How long an attempt may take to start.", into="start_timeout_s"),
    "grace": Field(kind=Duration(positive=False), doc="From the request to stop to the kill.", into="grace_s"),
    "pause_after": Field(kind=Whole(least=1), doc="Dead jobs in a row after which it is paused."),
    "log_limit": Field(kind=Size(), doc="Bytes of log kept of one attempt."),
    "provider": Field(kind=Choice(words=PROVIDERS), doc="Where it runs."),
    "route": Field(kind=ROUTE, doc="Rules that send some of its jobs elsewhere; the first that holds counts."),
    "priority": Field(kind=PRIORITY, doc="Modules of a higher one come first where several wait for the same room."),
    "runtime": Field(
        kind=Choice(words=("process", "container")),
        doc="With both image and command: a container if an engine exists, unless this says otherwise.",
    ),
    "workdir": Field(kind=Located(), doc="The working directory of a process, relative to this file."),
    "kubernetes": Field(kind=MODULE_KUBERNETES, doc="What it says about its pods on Kubernetes, such as podTemplate."),
    "azurebatch": Field(kind=MODULE_AZUREBATCH, doc="What it says about its tasks on Azure Batch, such as pool."),
}


def _spec(**values: Any) -> dict[str, Any]:
    """A module's attributes, checked against each other. Raises InvalidError."""
    image, command, runtime = values.get("image", ""), values.get("command"), values.get("runtime", "")
    if command is not None and not any(command[:1]):
        raise InvalidError("the command is empty; name a program")
    if not image and not command:
        raise InvalidError("there is neither an image nor a command; add one of the two")
    if runtime == "process" and not command:
        raise InvalidError("runtime: process needs a command; add it, or remove runtime")
    if runtime == "container" and not image:
        raise InvalidError("runtime: container needs an image; add it, or remove runtime")
    if both := sorted(values.get("env", {}).keys() & values.get("secrets", {}).keys()):
        raise InvalidError(f"the variable {both[0]} stands in both env and secrets; remove one")
    away = [place for place in Module(name="", route=values.get("route", ())).providers if place != "local"]
    if away and not image:
        raise InvalidError(f"a rule sends jobs to {away[0]}, which needs an image; add it, or remove the rule")
    paths = Counter(mount.path for mount in values.get("mounts", ()))
    if twice := [path for path, count in paths.items() if count > 1]:
        raise InvalidError(f"two mounts have the path {twice[0]}; change one")
    return values


MODULE = Section(
    name="module", doc="A program that runs when events happen.", struct=Module, build=_spec, fields=FIELDS
)
DEFAULTS = Section(name="defaults", doc="What every module has.", build=dict[str, Any], fields=FIELDS)


def build_module(
    name: str, spec: Mapping[str, Any], *, pipeline: str, origin: Path, mounts: Mapping[str, MountSource]
) -> Module:
    """The module that a decoded section describes. Raises InvalidError where a mount is not for its provider."""
    values = dict(spec)
    places = Module(name=name, provider=values.get("provider", "local"), route=values.get("route", ())).providers
    elsewhere = next((place for place in places if place != "kubernetes"), "")
    values["mounts"] = tuple(_mounted(mount, elsewhere, mounts) for mount in values.get("mounts", ()))
    values["emits"] = tuple(dict.fromkeys(values.get("emits", ())))
    if "workdir" in values:
        values["workdir"] = values["workdir"].path
    return Module(name=name, pipeline=pipeline, origin=str(origin), folder=str(origin.parent), **values)


def _mounted(mount: MountSpec, elsewhere: str, mounts: Mapping[str, MountSource]) -> Mount:
    named = mounts.get(mount.source.written)
    if named is None:
        return Mount(source=mount.source.path, path=mount.path)
    if named.folder:
        return Mount(source=named.folder, path=mount.path)
    if elsewhere:
        raise InvalidError(
            f"the mount '{mount.source.written}' is a pvc, which only Kubernetes has; "
            f"give it a folder for '{elsewhere}'"
        )
    return Mount(source=f"{PVC}{named.pvc}", path=mount.path)
