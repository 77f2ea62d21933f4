"""What runs: a module's configuration, as applied. Times in seconds, sizes in bytes."""

import hashlib
from typing import Any

import msgspec


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Events of `type` that pass all `filters` (CloudEvents subscription dialect, see `ion.messaging.filters`)."""

    type: str
    filters: tuple[dict[str, Any], ...] = ()


class Resources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt needs. Zero means not declared; an undeclared `cpu` takes one slot of the machine."""

    cpu: float = 0.0
    memory: int = 0
    gpu: int = 0
    disk: int = 0
    shm: int = 0


class Retries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Further attempts after the first, counted by failure class.

    `memory` attempts each get `memory_factor` times the memory of the one before. `infrastructure_s` is a time budget
    since the first such failure, with a few tries in any case: it never burns the module's retries.
    """

    module: int = 1
    timeout: int = 1
    memory: int = 1
    memory_factor: float = 1.0
    lost: int = 20
    infrastructure_s: float = 24 * 3600.0
    backoff_s: float = 1.0
    backoff_most_s: float = 300.0


class Mount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A read-only folder of the host (`source`) at `path` in the module's container."""

    source: str
    path: str


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a job of a module goes if all of this holds: its event passes `filters`, the event's files are together at
    least `size_least` and at most `size_most` bytes (None: any number), and it has waited for `waited_s` seconds.

    It goes to `provider` (empty: the module's own), where jobs of a higher `priority` are claimed first.
    """

    filters: tuple[dict[str, Any], ...] = ()
    size_least: int = 0
    size_most: int | None = None
    waited_s: float = 0.0
    provider: str = ""
    priority: int = 0


class Module(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module: which events start it, what it runs, and how its attempts are treated.

    `command` alone runs as a process, `image` in a container; with both, `runtime` ("", "process", "container")
    decides. `origin` is the pipeline file (absolute) and `folder` its folder, the working directory of processes unless
    `workdir` (absolute) is set. `secrets` maps a variable to the *name* of a secret, never a value. `no_retry_on` lists
    the exit codes that are final. `log_limit` bounds one attempt's log. The first rule of `route` that holds says where
    a job runs, else `provider` does. Modules of a higher `priority` come first where they wait for the same room.
    """

    name: str
    pipeline: str = ""
    on: tuple[Subscription, ...] = ()
    emits: tuple[str, ...] = ()
    image: str = ""
    command: tuple[str, ...] = ()
    origin: str = ""
    folder: str = ""
    workdir: str = ""
    runtime: str = ""
    provider: str = "local"
    route: tuple[Rule, ...] = ()
    priority: int = 0
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    network: bool = True
    resources: Resources = Resources()
    retries: Retries = Retries()
    no_retry_on: tuple[int, ...] = ()
    concurrency: int = 4
    timeout_s: float = 3600.0
    start_timeout_s: float = 1800.0
    grace_s: float = 30.0
    pause_after: int = 20
    log_limit: int = 16 * 1024 * 1024
    kubernetes: dict[str, Any] = {}
    azurebatch: dict[str, Any] = {}

    @property
    def providers(self) -> tuple[str, ...]:
        """Wherever its jobs may run: its own provider first, then those of its rules."""
        return tuple(dict.fromkeys((self.provider, *(rule.provider for rule in self.route if rule.provider))))

    @property
    def group(self) -> str:
        """The module's subscription on the bus: its logical name behind the pipeline's.

        Neither has an underscore in it, so no two modules share one.
        """
        return f"{self.pipeline}_{self.name}" if self.pipeline else self.name


class Revision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module's full configuration with its image digest, as fixed when it was applied."""

    id: str
    module: Module
    image_digest: str = ""

    @property
    def pinned_image(self) -> str:
        """The image to run: by its digest if that is known."""
        image = self.module.image
        if not self.image_digest or "@" in image:
            return image
        folder, _, last = image.rpartition("/")
        return f"{folder}/{last.partition(':')[0]}@{self.image_digest}".lstrip("/")


def revise(module: Module, image_digest: str = "") -> Revision:
    """The revision of this configuration: the same configuration always gets the same id (16 hexadecimal digits)."""
    encoded = msgspec.json.encode((_unsaid(module), image_digest), order="deterministic")
    return Revision(id=hashlib.sha256(encoded).hexdigest()[:16], module=module, image_digest=image_digest)


def _unsaid(value: Any) -> Any:
    """The same value; in structs nothing is written that is the default, whether somebody said it or not."""
    if isinstance(value, tuple):
        return tuple(_unsaid(one) for one in value)
    if not isinstance(value, msgspec.Struct):
        return value
    given = {field.name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
    defaults = {field.name: field.default for field in msgspec.structs.fields(value)}
    return type(value)(**{name: _unsaid(one) for name, one in given.items() if one != defaults[name]})
