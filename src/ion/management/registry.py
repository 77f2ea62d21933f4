"""Putting modules into the registry, so that running dispatchers pick them up."""

import logging
from collections.abc import Sequence

from ion.errors import UnavailableError
from ion.model.module import Module, revise
from ion.ports.bus import Bus
from ion.ports.ledger import Ledger

log = logging.getLogger(__name__)


async def apply_modules(
    ledger: Ledger, bus: Bus, modules: Sequence[Module], *, pipeline: str, actor: str
) -> Sequence[str]:
    """Makes the registry's modules of `pipeline` exactly these.

    A module's subscription on the bus is made before its row (R1), so that no event falls between. Modules of the
    pipeline that are not among these are removed: their waiting jobs become dead letters. What belongs together
    without a pipeline's name is what came from one file.

    Returns:
        The names that changed or were removed.
    """
    if bus.guarantees.store != ledger.guarantees.store:
        subscribed = {r.module.group: {s.type for s in r.module.on} for r in await ledger.modules()}
        for module in modules:
            await _subscribe(bus, module, subscribed.get(module.group, set()))
    changed = list(await ledger.apply([revise(module) for module in modules], actor))
    kept = {module.name for module in modules}
    origins = {module.origin for module in modules}
    for registered in await ledger.modules():
        module = registered.module
        ours = module.pipeline == pipeline and (pipeline or module.origin in origins)
        if ours and module.name not in kept:
            await ledger.remove(module.name, actor)
            changed.append(module.name)
    return changed


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
