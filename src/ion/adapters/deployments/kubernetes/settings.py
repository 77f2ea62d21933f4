"""What a pipeline file says, by `kubernetes: {dispatchers: …}`, about the dispatchers that management makes."""

from typing import Any

import msgspec

from ion.adapters.executors.kubernetes.fit import is_subdomain
from ion.errors import InvalidError


class Replicas(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How many dispatchers a module may have.

    With a `min` of 0 there is none while there is nothing to do. There are fewer once less has been to do for
    `down_after_s` seconds. Raises InvalidError for what cannot be.
    """

    min: int = 1
    max: int = 1
    down_after_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max or not self.max:
            raise InvalidError(
                f"replicas cannot be from {self.min} to {self.max}: min is 0 or more, and max is 1 or more and no less"
            )


class DispatchersSettings(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """A Deployment of dispatchers for every module of the cluster. Raises InvalidError for what cannot be."""

    image: str = ""
    """Ion's image; empty: the handler's."""
    service_account: str = ""
    """Whose account they have, to make Jobs with; empty: the namespace's default."""
    config_map: str = ""
    """The ConfigMap whose key `ion.yaml` is the pipeline file that they read their settings from."""
    secret: str = ""
    """The Secret whose keys become their variables: the connections, which that file takes by `${X}`."""
    replicas: Replicas = Replicas()
    per_replica: int = 100
    """How many open jobs (waiting, running, or not yet released) one dispatcher is for."""
    figures: str = ""
    """Where KEDA finds management's page of figures, a URL; with it KEDA scales, if the cluster has it."""
    resources: dict[str, Any] = {}
    """Requests and limits, as Kubernetes writes them."""
    pod_template: dict[str, Any] = {}
    """A strategic merge patch over their pods: `{metadata: ..., spec: ...}`."""

    def __post_init__(self) -> None:
        said = {"serviceAccount": self.service_account, "configMap": self.config_map, "secret": self.secret}
        for what, name in said.items():
            if name and not is_subdomain(name):
                raise InvalidError(f"{what}: {name!r} is no name in Kubernetes: use a-z, 0-9, dashes and dots")
        if not self.config_map:
            raise InvalidError("dispatchers need a configMap: name the ConfigMap whose key `ion.yaml` is this file")
