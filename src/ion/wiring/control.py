"""The control plane of `ion management start`: the dispatchers that it keeps, if the settings say so.

Where all dispatchers may be stopped, somebody has to see that there is work: what gateways commit is relayed here, and
what the bus brings is admitted here, so that it stands in the ledger. That is a dispatcher that runs nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ion.config.settings import Settings
from ion.config.stores import SHARED
from ion.dispatcher.service import Dispatcher
from ion.dispatcher.stores import Stores
from ion.errors import UnsupportedError
from ion.management.control.control import Control
from ion.management.control.scale import Policy
from ion.model.module import Module
from ion.wiring.cluster import has_client
from ion.wiring.executors import open_dispatcher
from ion.wiring.telemetry import Watched

PROVIDER = "kubernetes"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps dispatchers; None where there are none to keep. The task ends only by a fault of Ion's, which it
    raises.
    """

    control: Control | None = None
    task: asyncio.Task[None] | None = None


@asynccontextmanager
async def controlled(store: Path, stores: Stores, settings: Settings, watched: Watched) -> AsyncIterator[Kept]:
    """Keeps dispatchers while the context is open. `watched` hears of what is released here.

    Raises:
        UnsupportedError: they could not work, whatever the cluster is like.
        UnavailableError: no cluster is configured.
    """
    said = settings.kubernetes.dispatchers
    if said is None:
        yield Kept()
        return
    _check(settings)
    from ion.adapters.deployments.kubernetes import KubernetesDeployments

    policy = Policy(
        least=said.replicas.min,
        most=said.replicas.max,
        per_replica=said.per_replica,
        down_after_s=said.replicas.down_after_s,
    )
    keeper = open_keeper(store, stores, settings, watched)
    async with KubernetesDeployments(settings.cluster, said) as deployments, keeper:
        control = Control(stores.ledger, deployments, policy, provider=PROVIDER)
        task = asyncio.create_task(_keep(control, keeper), name="control")
        try:
            yield Kept(control=control, task=task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def open_keeper(store: Path, stores: Stores, settings: Settings, watched: Watched) -> Dispatcher:
    """The dispatcher that runs nothing."""
    return open_dispatcher(
        store,
        stores,
        {},
        settings,
        observe=watched.observe,
        released=watched.released,
        serves=lambda _: False,
        receives=_is_kept,
    )


def _check(settings: Settings) -> None:
    if not has_client():
        raise UnsupportedError(
            "dispatchers are kept by Kubernetes, whose client is not here: install ion-events[kubernetes]"
        )
    if settings.ledger.kind not in SHARED or settings.blobs.kind == "filesystem":
        what, where = ("blobs", "an object store") if settings.ledger.kind in SHARED else ("ledger", "a server")
        raise UnsupportedError(
            f"dispatchers in a cluster cannot reach the {what} in files of this host: set `{what}` to {where}, or take "
            "`kubernetes.dispatchers` out"
        )


async def _keep(control: Control, keeper: Dispatcher) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(control.run(), name="control: compare")
        group.create_task(keeper.wait(), name="control: relay")


def _is_kept(module: Module) -> bool:
    return PROVIDER in module.providers
