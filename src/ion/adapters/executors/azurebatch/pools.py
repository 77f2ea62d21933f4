"""Whether pools can run attempts: looked at before anything is made in them, and again now and then."""

import time
from typing import TYPE_CHECKING

from ion.adapters.executors.azurebatch.client import Batch
from ion.errors import IonError, NotFoundError

if TYPE_CHECKING:
    from azure.batch.models import BatchPool

AGAIN_S = 30.0
"""After so long a pool is looked at again."""


class Pools:
    """What is known of pools: one sentence about each that cannot be used, and nothing about one that can."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._faults: dict[str, str] = {}
        self._slots: dict[str, int] = {}
        self._looked_at: dict[str, float] = {}

    def fault(self, pool: str, slots: int) -> str:
        """One sentence about why a pool does not take tasks of so many slots, empty if it does."""
        if pool not in self._faults:
            return f"the pool {pool} is being looked at"
        if not self._faults[pool] and slots > (most := self._slots.get(pool, slots)):
            return f"a task of it takes {slots} slots, and a node of the pool {pool} has {most} (taskSlotsPerNode)"
        return self._faults[pool]

    def is_due(self, pool: str) -> bool:
        """Whether the pool has to be looked at; whoever asks does that, and nobody else is told so for a while."""
        now_s = time.monotonic()
        due = now_s - self._looked_at.get(pool, -AGAIN_S) >= AGAIN_S
        if due:
            self._looked_at[pool] = now_s
        return due

    async def look(self, pool: str) -> bool:
        """Looks at a pool; whether it stands otherwise than was known."""
        before = self._faults.get(pool)
        try:
            found = await self._batch.pool(pool)
            self._slots[pool] = found.task_slots_per_node or 1
            self._faults[pool] = fault_of(found)
        except NotFoundError:
            self._faults[pool] = (
                f"the Batch account has no pool {pool!r}: make it, or name another as `azurebatch: {{pool: ...}}`"
            )
        except IonError as error:
            if before != "":  # one that was fine still is, as far as is known
                self._faults[pool] = str(error)
        self._looked_at[pool] = time.monotonic()
        return self._faults[pool] != before


def fault_of(pool: "BatchPool") -> str:
    """Why a pool cannot run containers; empty if it can."""
    state = _word(pool.state)
    if state != "active":
        return f"the pool {pool.id} is not active but {state}: wait for it, or name another"
    machine = pool.virtual_machine_configuration
    containers = machine.container_configuration if machine is not None else None
    if machine is None or containers is None or _word(containers.type) != "dockercompatible":
        return (
            f"the pool {pool.id} runs no containers of docker: make one whose virtualMachineConfiguration has a "
            "containerConfiguration of the type dockerCompatible"
        )
    if "windows" in (machine.node_agent_sku_id or "").lower():
        return f"the nodes of the pool {pool.id} have Windows, and tasks are shell scripts: make one of Linux"
    return ""


def _word(value: object) -> str:
    return str(getattr(value, "value", value) or "").lower()
