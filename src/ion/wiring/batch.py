"""The Azure Batch account where modules with `provider: azurebatch` run: whether there is one, and its executor."""

import functools
import importlib.util
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.config.backends import Backend, with_secrets
from ion.config.settings import Settings
from ion.config.stores import SHARED
from ion.dispatcher.stores import Stores
from ion.errors import UnsupportedError
from ion.model.module import Revision
from ion.ports.executor import Assignment, Executor
from ion.wiring.handler import opening


def has_account(settings: BatchSettings) -> bool:
    """Whether an account is configured here, and the client is installed; nothing is asked of it."""
    return bool(settings.url) and _has_client()


def azurebatch(
    store: Path, stores: Stores, settings: Settings, environ: Mapping[str, str], secrets: Callable[[str], str | None]
) -> Executor:
    """The executor of the account, not yet open."""
    from ion.adapters.executors.azurebatch import BatchExecutor

    ledger = stores.ledger.guarantees.store
    return BatchExecutor(
        store / "azurebatch",
        stores.handler,
        stores.blobs,
        with_key(settings.azurebatch, environ),
        credentials=functools.partial(_credential, stores, with_secrets("blobs", settings.blobs, environ)),
        secrets=secrets,
        ledger=ledger if settings.ledger.kind in SHARED else f"{platform.node()}:{Path(ledger).absolute()}",
    )


def check_for_account(revision: Revision, settings: Settings) -> None:
    """Whether a module can run on Azure Batch, as far as can be told without asking it.

    Raises:
        UnsupportedError: it never can.
    """
    from ion.adapters.executors.azurebatch.executor import check

    name = revision.module.name
    if not settings.azurebatch.url:
        raise UnsupportedError(
            f"module {name} is for Azure Batch, and no account is configured: set `azurebatch: {{url: ..., pool: ...}}`"
            ", or say `provider: local`, perhaps in a profile"
        )
    if not _has_client():
        raise UnsupportedError(
            f"module {name} is for Azure Batch, whose client is not here: install ion-events[azurebatch]"
        )
    if settings.blobs.kind == "filesystem":
        raise UnsupportedError(
            f"module {name} is for Azure Batch, whose nodes cannot reach the blobs in files of this host: set `blobs` "
            "to an object store"
        )
    check(revision, settings.azurebatch)


def with_key(settings: BatchSettings, environ: Mapping[str, str]) -> BatchSettings:
    """The settings with the key from the environment, where they have not been given it."""
    key = settings.key or environ.get("ION_AZUREBATCH_KEY", "")
    return msgspec.structs.replace(settings, key=key) if key else settings


async def _credential(stores: Stores, backend: Backend, assignment: Assignment) -> str:
    """What opens the blobs for an attempt. It has to last as long as that: a node is given it once.

    `backend` is that of the blobs, with its secrets.
    """
    content, _ = await opening(stores.blobs, backend.options, assignment)
    return content.decode()


def _has_client() -> bool:
    return importlib.util.find_spec("azure") is not None and importlib.util.find_spec("azure.batch") is not None
