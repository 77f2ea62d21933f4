"""How the rules of a module's route look to people."""

import msgspec

from ion.model.module import Module, Rule

UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
SPANS = (("d", 86_400), ("h", 3600), ("m", 60))


def condition(rule: Rule) -> str:
    """What has to hold, as in a pipeline file: `size >1Gi, waited 10m`."""
    said = [f"size {bound}" for bound in _bounds(rule)]
    said += [msgspec.json.encode(one).decode() for one in rule.filters]
    if rule.waited_s:
        said.append(f"waited {_span(rule.waited_s)}")
    return ", ".join(said)


def aim(rule: Rule, module: Module) -> str:
    """Where it sends jobs: `kubernetes, priority 5`."""
    return f"{rule.provider or module.provider}{f', priority {rule.priority}' if rule.priority else ''}"


def places(module: Module) -> str:
    """Where a module's jobs may run if there is a choice, and what there is of priorities; else nothing."""
    said = {
        " or ".join(module.providers): len(module.providers) > 1,
        f"priority {module.priority}": module.priority,
        "priority by rule": any(rule.priority for rule in module.route),
    }
    return ", ".join(text for text, holds in said.items() if holds)


def _bounds(rule: Rule) -> list[str]:
    bounds = []
    if rule.size_least:
        above = rule.size_least > 1 and not (rule.size_least - 1) % 1024  # written with `>`, most likely
        bounds.append(f">{_size(rule.size_least - 1)}" if above else f">={_size(rule.size_least)}")
    if rule.size_most is not None:
        below = not (rule.size_most + 1) % 1024
        bounds.append(f"<{_size(rule.size_most + 1)}" if below else f"<={_size(rule.size_most)}")
    return bounds


def _size(size: int) -> str:
    return next((f"{size // unit}{name}" for name, unit in UNITS if size and not size % unit), f"{size}")


def _span(seconds: float) -> str:
    return next((f"{seconds // unit:g}{name}" for name, unit in SPANS if not seconds % unit), f"{seconds:g}s")
