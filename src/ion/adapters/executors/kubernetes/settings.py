"""What the Kubernetes executor may be told: by the pipeline file's top level, and by a module.

No client is imported here: the pipeline file needs this. In the file the keys are written as Kubernetes writes its own,
`imagePullSecrets` for `image_pull_secrets`.
"""

from typing import Any, ClassVar

import msgspec

from ion import __version__
from ion.adapters.deployments.kubernetes.settings import DispatchersSettings
from ion.adapters.executors.kubernetes.fit import is_dns_label, is_subdomain
from ion.errors import InvalidError
from ion.messaging.nearest import suggestion

HANDLER_IMAGE = f"ghcr.io/ion-events/ion:{__version__}"
"""What prepares and commits, unless something else is said: the image of this very version."""
DEFAULT_INSTANCE = "ion"
_INSTANCE_MOST = 40


class SecretKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a module's secret is in the cluster: in this key of the Secret of this name."""

    VALUE: ClassVar[str] = "value"

    secret: str
    key: str = VALUE


class KubernetesSettings(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """The cluster, and what all pods of jobs in it have. Raises InvalidError for what cannot be."""

    namespace: str = ""
    """Where the jobs are made; empty: the namespace of the context, or that of the pod in which this runs."""
    context: str = ""
    """The context of the kubeconfig; empty: its current one."""
    kubeconfig: str = ""
    """The kubeconfig's path; empty: in a pod that pod's own account, else `KUBECONFIG` or `~/.kube/config`."""
    instance: str = DEFAULT_INSTANCE
    """Tells the jobs of one Ion from those of another in the same namespace; a label of everything that is made."""
    handler_image: str = ""
    """The image of `prepare` and `commit`; empty: this version's own."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets with which images are pulled, beside those of the service account."""
    service_account: str = ""
    """Whose account the pods have; empty: the namespace's default. No token of it is mounted."""
    host_network: bool = False
    """Whether pods are in their node's network, as they must be to reach what listens on its loopback."""
    pod_template: dict[str, Any] = {}
    """A strategic merge patch over every pod: `{metadata: ..., spec: ...}`. A module's own comes after it."""
    slack_s: float = 600.0
    """Seconds that prepare and commit may take beside the module's times, before the pod is ended as a last resort."""
    pull_deadline_s: float = 300.0
    """Seconds for which a container that cannot be made (its image cannot be pulled, a Secret is missing) is tried
    again before the attempt fails; never longer than the module's start timeout."""
    kept_s: float = 86_400.0
    """Seconds for which a Job that ended is kept if no dispatcher removes it."""
    secrets: dict[str, SecretKey] = {}
    """Where modules' secrets are, by name; without an entry it is the key `value` of the Secret of that name."""
    dispatchers: DispatchersSettings | None = None
    """The dispatchers that management makes there, one Deployment a module; None: it makes none."""

    def __post_init__(self) -> None:
        for what, name in (("namespace", self.namespace), ("serviceAccount", self.service_account)):
            _check_name(what, name)
        for name in self.image_pull_secrets:
            _check_name("imagePullSecrets", name)
        if not is_dns_label(self.instance, _INSTANCE_MOST):
            raise InvalidError(
                f"the instance {self.instance!r} is no name: use up to {_INSTANCE_MOST} of a-z, 0-9 and dashes"
            )
        if min(self.slack_s, self.pull_deadline_s, self.kept_s) <= 0:
            raise InvalidError("slack, pullDeadline and kept have to be longer than nothing")


class ModuleOptions(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """What one module says about its pods: its `kubernetes` mapping, typed."""

    handler_image: str = ""
    """The image of `prepare` and `commit` for this module."""
    image_pull_secrets: tuple[str, ...] = ()
    """Further Secrets with which images are pulled."""
    service_account: str = ""
    """Whose account its pods have, in place of the setting's."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints of nodes that its pods bear, as Kubernetes writes them."""
    affinity: dict[str, Any] = {}
    """Where its pods would rather be, as Kubernetes writes it."""
    priority_class: str = ""
    """The PriorityClass of its pods."""
    volumes: tuple[dict[str, Any], ...] = ()
    """Further volumes of its pods, as Kubernetes writes them."""
    volume_mounts: tuple[dict[str, Any], ...] = ()
    """Where the module's container sees them."""
    pod_template: dict[str, Any] = {}
    """A strategic merge patch over its pods, after all else."""

    def __post_init__(self) -> None:
        for what, name in (("serviceAccount", self.service_account), ("priorityClass", self.priority_class)):
            _check_name(what, name)
        for name in self.image_pull_secrets:
            _check_name("imagePullSecrets", name)


def module_options(name: str, options: dict[str, Any]) -> ModuleOptions:
    """What a module says in its `kubernetes` mapping. Raises InvalidError for what is not known there."""
    try:
        return options_of(options)
    except InvalidError as error:
        raise InvalidError(f"module {name}: {error}") from error


def options_of(options: dict[str, Any]) -> ModuleOptions:
    """The same, with words that follow a module's name."""
    known = {field.encode_name for field in msgspec.structs.fields(ModuleOptions)}
    if unknown := sorted(options.keys() - known):
        raise InvalidError(
            f"its kubernetes settings have the unknown key {unknown[0]!r}; {suggestion(unknown[0], known)}"
        )
    try:
        return msgspec.convert(options, ModuleOptions)
    except (msgspec.ValidationError, InvalidError) as error:
        raise InvalidError(f"its kubernetes settings cannot be used: {error}") from error


def _check_name(what: str, name: str) -> None:
    if name and not is_subdomain(name):
        raise InvalidError(f"{what}: {name!r} is no name in Kubernetes: use a-z, 0-9, dashes and dots")
