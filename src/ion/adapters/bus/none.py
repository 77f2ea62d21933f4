"""No bus: dispatchers that share a ledger hear of new jobs from it, and nobody else listens.

The relay admits the children of every registered module before it publishes, so where all who listen share the ledger,
there is nothing left to carry.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from ion.errors import UnsupportedError
from ion.model.event import Event
from ion.ports.bus import Bus, BusGuarantees, Receiver


class NoBus(Bus):
    """Admission in the ledger of `store` is the publication; `durable` as that ledger is."""

    def __init__(self, store: str, *, durable: bool) -> None:
        self._store, self._durable = store, durable

    @property
    def guarantees(self) -> BusGuarantees:
        return BusGuarantees(
            store=self._store,
            durable=self._durable,
            ordered=True,
            dedupes=True,
            delays=False,
            peeks=False,
            depths=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        """The ledger's registry has them."""

    async def publish(self, events: Sequence[Event]) -> None:
        """What they start is in the ledger."""

    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:  # noqa: ARG002
        raise self._none()

    async def depth(self, group: str) -> int:  # noqa: ARG002
        raise self._none()

    async def peek(self, group: str, most: int) -> Sequence[Event]:  # noqa: ARG002
        raise self._none()

    def _none(self) -> UnsupportedError:
        return UnsupportedError(
            f"there is no bus beside {self._store}, so no events wait on one: look at jobs, or set `bus`"
        )
