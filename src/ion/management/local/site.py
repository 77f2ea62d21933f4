"""What all groups of verbs are done on."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from ion.dispatcher.stores import Stores
from ion.errors import InvalidError
from ion.management.control.control import Control
from ion.management.created import bare_name
from ion.management.flows import find_flow
from ion.model.retention import Retention

T = TypeVar("T")


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """An open store and who works on it.

    `work` is where attempts run on this host, for the logs of running ones, if any do; `place` names the store in a
    word or two. `control` keeps the modules' dispatchers, where management does.
    """

    stores: Stores
    actor: str
    work: Path | None
    retention: Retention
    place: str
    control: Control | None = None

    async def flow_id(self, beginning: str) -> str:
        """The whole correlation id; nothing stays nothing. Raises as `find_flow`."""
        return (await find_flow(self.stores.ledger, beginning)).correlation_id if beginning else ""

    async def module_name(self, name: str) -> str:
        """A module's name, where it may be the deployed one; nothing stays nothing."""
        return await bare_name(self.stores.ledger, name)


def within(what: str, number: float, least: float, most: float) -> None:
    """Raises InvalidError if a number from outside is out of its bounds."""
    if not least <= number <= most:
        raise InvalidError(f"{what} must be from {least:,g} to {most:,g}, not {number:,g}")


@asynccontextmanager
async def closing(source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Ends an iterator when it is left, wherever that is: what it holds open is not left to the garbage collector."""
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
