"""The documents: the records of flows (eventMeta, insight, modulelogs) that people and clients read."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import msgspec

from ion.model.record import Kind, Record


class DocumentsGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """`durable`: a record survives the death of the process that put it; `shared`: several processes at once."""

    durable: bool
    shared: bool


class RecordFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which records `query` gives; every field narrows. `name` is the producing module."""

    kind: Kind | None = None
    name: str = ""
    correlation_id: str = ""
    event_id: str = ""


class Documents(ABC):
    """All verbs are safe to call concurrently and to repeat. Each raises `UnavailableError` where the store is away."""

    @property
    @abstractmethod
    def guarantees(self) -> DocumentsGuarantees: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def put(self, records: Sequence[Record]) -> None:
        """Stores records, all or none; one with the same kind and id is replaced and keeps its place in the order."""

    @abstractmethod
    async def get(self, kind: Kind, record_id: str) -> Record:
        """Raises NotFoundError."""

    @abstractmethod
    async def delete(self, kind: Kind, record_ids: Sequence[str]) -> int:
        """Removes records of a kind, all or none; those that are not there are no matter. Returns how many went."""

    @abstractmethod
    def query(self, which: RecordFilter) -> AsyncIterator[Record]:
        """Records in the order in which they were first put, read in short pages."""

    def flow(self, correlation_id: str) -> AsyncIterator[Record]:
        """Every record of a flow, in order."""
        return self.query(RecordFilter(correlation_id=correlation_id))
