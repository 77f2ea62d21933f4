"""The cluster where modules with `provider: kubernetes` run: whether there is one, and its executor."""

import functools
import importlib.util
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ion.adapters.executors.kubernetes.settings import KubernetesSettings
from ion.config.backends import Backend, with_secrets
from ion.config.settings import Settings
from ion.config.stores import SHARED
from ion.dispatcher.stores import Stores
from ion.errors import InvalidError, UnsupportedError
from ion.handler.granting import grant
from ion.model.module import Revision
from ion.ports.executor import Assignment, Executor
from ion.wiring.handler import Opening, opening

if TYPE_CHECKING:
    from ion.adapters.executors.kubernetes.making import Credential

LEAST_S = 3600.0
"""What every issuer of short-lived credentials grants; one that ends before its attempt does is renewed in time."""


def has_cluster(settings: KubernetesSettings, environ: Mapping[str, str]) -> bool:
    """Whether a cluster is configured here, and the client is installed; nothing is asked of it."""
    return bool(_is_said(settings, environ) or _kubeconfig(environ).is_file()) and has_client()


def kubernetes(store: Path, stores: Stores, settings: Settings, environ: Mapping[str, str]) -> Executor:
    """The executor of the cluster, not yet open."""
    from ion.adapters.executors.kubernetes import KubernetesExecutor

    shared = settings.ledger.kind in SHARED
    ledger = stores.ledger.guarantees.store
    return KubernetesExecutor(
        store / "kubernetes",
        stores.handler,
        stores.blobs,
        settings.cluster,
        credentials=functools.partial(credential, stores, with_secrets("blobs", settings.blobs, environ)),
        ledger=ledger if shared else f"{platform.node()}:{Path(ledger).absolute()}",
        eager=_is_said(settings.cluster, environ),
    )


def check_for_cluster(revision: Revision, settings: Settings, environ: Mapping[str, str]) -> None:
    """Whether a module can run on a cluster, as far as can be told without asking it.

    Raises:
        UnsupportedError: it never can.
    """
    from ion.adapters.executors.kubernetes.executor import check

    name = revision.module.name
    if not has_client():
        raise UnsupportedError(
            f"module {name} is for Kubernetes, whose client is not here: install ion-events[kubernetes]"
        )
    if not has_cluster(settings.cluster, environ):
        raise UnsupportedError(
            f"module {name} is for Kubernetes, and no cluster is configured: set `kubernetes: {{kubeconfig: ...}}` or "
            "KUBECONFIG, or say `provider: local`, perhaps in a profile"
        )
    if settings.blobs.kind == "filesystem":
        raise UnsupportedError(
            f"module {name} is for Kubernetes, whose pods cannot reach the blobs in files of this host: set `blobs` to "
            "an object store"
        )
    check(revision, settings.cluster)


async def credential(stores: Stores, backend: Backend, assignment: Assignment) -> "Credential":
    """What opens the blobs for an attempt: a grant of what it needs, the store's settings where none is possible.

    `backend` is that of the blobs, with its secrets.
    """
    from ion.adapters.executors.kubernetes.making import Credential

    try:
        content, ends_at = await opening(stores.blobs, backend.options, assignment)
    except InvalidError:  # nobody grants anything for so long
        granted = await grant(stores.blobs, assignment, LEAST_S)
        content, ends_at = msgspec.json.encode(Opening(grant=granted)), granted.ends_at
    return Credential(content=content.decode(), lasts_s=max(1.0, (ends_at - datetime.now(UTC)).total_seconds()))


def _is_said(settings: KubernetesSettings, environ: Mapping[str, str]) -> bool:
    """Whether somebody said in so many words which cluster, or this is a pod of one."""
    return settings != KubernetesSettings() or "KUBERNETES_SERVICE_HOST" in environ


def _kubeconfig(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def has_client() -> bool:
    return importlib.util.find_spec("lightkube") is not None
