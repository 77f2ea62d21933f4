"""Putting modules into the registry, so that running dispatchers pick them up."""

import logging
from collections.abc import Sequence

from ion.errors import UnavailableError
from ion.model.module import Module, revise
from ion.ports.bus import Bus
from ion.ports.ledger import Ledger, Registered

log = logging.getLogger(__name__)


async def apply_modules(
    ledger: Ledger, bus: Bus, modules: Sequence[Module], *, pipeline: str, actor: str
) -> Sequence[str]:
    """Makes the registry's modules of `pipeline` exactly these.

    Modules of the pipeline that are not among these are removed: their waiting jobs become dead letters.

    Returns:
        The names that changed or were removed.
    """
    changed = list(await register(ledger, bus, modules, actor))
    for module in left_over(await ledger.modules(), modules, pipeline):
        await ledger.remove(module.name, actor)
        changed.append(module.name)
    return changed


async def register(ledger: Ledger, bus: Bus, modules: Sequence[Module], actor: str) -> Sequence[str]:
    """Registers modules or gives them new revisions, all or none; the names that changed.

    A module's subscription on the bus is made before its row (R1), so that no event falls between.

    Raises:
        ConflictError: a name belongs to another pipeline. UnavailableError: a subscription cannot be made.
    """
    if bus.guarantees.store != ledger.guarantees.store:
        subscribed = {r.module.group: {s.type for s in r.module.on} for r in await ledger.modules()}
        for module in modules:
            await _subscribe(bus, module, subscribed.get(module.group, set()))
    return await ledger.apply([revise(module) for module in modules], actor)


def left_over(registered: Sequence[Registered], modules: Sequence[Module], pipeline: str) -> Sequence[Module]:
    """The pipeline's modules that are not among these; without a name, what came from one file belongs together."""
    kept = {module.name for module in modules}
    origins = {module.origin for module in modules}
    ours = [one.module for one in registered if one.module.pipeline == pipeline]
    return [one for one in ours if (pipeline or one.origin in origins) and one.name not in kept]


async def _subscribe(bus: Bus, module: Module, already: set[str]) -> None:
    """A bus that is away keeps nobody from starting whose subscriptions were made before: receiving waits for it."""
    topics = {s.type for s in module.on}
    try:
        await bus.ensure(sorted(topics), [module.group])
    except UnavailableError as error:
        if not topics <= already:
            raise
        log.warning("module %s is started without its bus: %s", module.name, error)


async def lift_breakers(ledger: Ledger, modules: Sequence[str], actor: str) -> None:
    """Starts modules anew whose breaker is open: whoever serves them again has most likely mended them."""
    for registered in await ledger.modules():
        health = registered.health
        tripped = health.dead_in_row or health.trouble_in_row
        if tripped and not registered.paused and registered.module.name in modules:
            await ledger.pause_module(registered.module.name, paused=False, actor=actor)
