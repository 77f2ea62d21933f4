"""Putting modules into the registry, so that running dispatchers pick them up."""

from collections.abc import Sequence

import msgspec

from ion.model.module import Module, revise
from ion.ports.bus import Bus
from ion.ports.ledger import Ledger


async def apply_modules(
    ledger: Ledger, bus: Bus, modules: Sequence[Module], *, pipeline: str, actor: str
) -> Sequence[str]:
    """Makes the registry's modules of `pipeline` exactly these.

    A module's subscription on the bus is made before its row (R1), so that no event falls between. Modules of the
    pipeline that are not among these are removed: their waiting jobs become dead letters.

    Returns:
        The names that changed or were removed.
    """
    if bus.guarantees.store != ledger.guarantees.store:
        for module in modules:
            await bus.ensure(sorted({s.type for s in module.on}), [module.group])
    changed = list(await ledger.apply([revise(module) for module in modules], actor))
    kept = {module.name for module in modules}
    for registered in await ledger.modules():
        name = registered.module.name
        if registered.module.pipeline == pipeline and name not in kept:
            await ledger.remove(name, actor)
            changed.append(name)
    return changed


async def lift_breakers(ledger: Ledger, modules: Sequence[str], actor: str) -> None:
    """Starts modules anew whose breaker is open: whoever serves them again has most likely mended them."""
    for registered in await ledger.modules():
        health = registered.health
        tripped = health.dead_in_row or health.trouble_in_row
        if tripped and not registered.paused and registered.module.name in modules:
            await ledger.pause_module(registered.module.name, paused=False, actor=actor)


def without_retries(module: Module) -> Module:
    """The module as `ion run` runs it: a failure of its own is shown at once, not tried again."""
    kept = msgspec.structs.replace(module.retries, module=0, timeout=0, memory=0)
    return msgspec.structs.replace(module, retries=kept)
