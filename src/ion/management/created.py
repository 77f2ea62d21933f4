"""A module as the 2018 original's `create` describes one, on its command line and in its API: texts and small numbers.

Its deployed name, which clients of the original keep and give back, is its name with the beginning of its revision.
"""

import re
from collections.abc import Mapping, Sequence

from ion.errors import NotFoundError
from ion.messaging.nearest import suggestion
from ion.model.module import Module, Retries, Revision, Subscription
from ion.ports.ledger import Ledger, Registered

PROVIDER = "kubernetes"
INSTANCES, RETRIES, MINUTES = 1, 1, 5
"""What the original takes where nothing is said."""

_DEPLOYED = re.compile(r"(.+)-([0-9a-f]{8})", re.DOTALL)


def created(
    name: str,
    *,
    on: str = "",
    emits: str = "",
    image: str = "",
    command: Sequence[str] = (),
    provider: str = PROVIDER,
    handler_image: str = "",
    instances: int = INSTANCES,
    retries: int = RETRIES,
    minutes: int = MINUTES,
    env: Mapping[str, str] | None = None,
    folder: str = "",
) -> Module:
    """The module; nothing is checked, see `ion.management.checks`.

    `on` and `emits` are event types with commas between them, `instances` its concurrency, `minutes` what one attempt
    may run. The image of the handler is for those who run attempts in pods and tasks of their own.
    """
    provider = provider.lower()
    handler = {"handlerImage": handler_image} if handler_image else {}
    return Module(
        name=name,
        on=tuple(Subscription(type=one) for one in _listed(on)),
        emits=_listed(emits),
        image=image,
        command=tuple(command),
        provider=provider,
        concurrency=instances,
        retries=Retries(module=retries, timeout=retries),
        timeout_s=minutes * 60.0,
        env=dict(env or {}),
        folder=folder,
        kubernetes=handler if provider == "kubernetes" else {},
        azurebatch=handler if provider == "azurebatch" else {},
    )


def _listed(types: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for part in types.split(",") if (one := part.strip())))


def deployed_name(revision: Revision) -> str:
    """The original's name of a module as it was deployed once: `NAME-xxxxxxxx`."""
    return f"{revision.module.name}-{revision.id[:8]}"


async def find_module(ledger: Ledger, name: str) -> Registered:
    """The registered module of that name, or of a deployed name that it has or once had.

    Raises:
        NotFoundError: there is none; with the nearest name.
    """
    modules = {one.module.name: one for one in await ledger.modules()}
    bare = await bare_name(ledger, name, modules)
    if bare not in modules:
        deployed = _DEPLOYED.fullmatch(name)
        hint = suggestion(deployed[1] if deployed else name, modules)
        raise NotFoundError(f"there is no module '{name}': {hint}")
    return modules[bare]


async def bare_name(ledger: Ledger, name: str, known: Mapping[str, Registered] | None = None) -> str:
    """A module's name without what a deployed name has behind it; what is no deployed name stays as it is.

    `known` are the registered modules by name, if they have been read.
    """
    deployed = _DEPLOYED.fullmatch(name)
    if deployed is None:
        return name
    if name in (known if known is not None else {one.module.name for one in await ledger.modules()}):
        return name
    bare, beginning = deployed.groups()
    async for past in ledger.revisions(bare):
        if past.revision is not None and past.revision.id.startswith(beginning):
            return str(bare)
    return name
