"""The bus: carries events between hosts and to outsiders. Transport only; the ledger is the record.

A topic is an event type. A group is a named subscriber: each event is delivered to every group of its topic, and within
a group to one receiver at a time, until acknowledged. Delivery is at least once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

import msgspec

from ion.model.event import Event


class BusGuarantees(msgspec.Struct, frozen=True, kw_only=True):
    """`store`: the store it lives in, equal to the ledger's where admission is the publication.

    `durable`: a confirmed event survives the death of every process of Ion's. `ordered`: a group receives a topic's
    events in the order of publication while nothing is released back. `dedupes`: an event published twice with one id
    reaches a group once (Ion does not rely on it). `delays`: `release(after_s)` is kept by the bus. `peeks`, `depths`:
    those verbs work, else they raise UnsupportedError. `depths_held`: a depth includes what is being delivered or
    delayed. `event_limit`: bytes of one encoded event, 0 for no bound. `keeps_s`: after how many seconds an event that
    was not acknowledged is dropped, None for never.
    """

    store: str
    durable: bool
    ordered: bool
    dedupes: bool
    delays: bool
    peeks: bool
    depths: bool
    depths_held: bool = True
    event_limit: int = 0
    keeps_s: float | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to a group. Exactly one of `event` and `fault` is set: a message that cannot be decoded
    comes with its raw bytes and the reason. `token` is the adapter's.
    """

    event: Event | None
    raw: bytes
    fault: str = ""
    tries: int = 1
    token: Any = None


class Receiver(ABC):
    """An open subscription of one group."""

    @abstractmethod
    async def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        """Up to `most` deliveries, at once if there are any, else after at most `wait_s` seconds, maybe none.

        A delivery that is neither acknowledged nor released comes again after the receiver closed or died.
        """

    @abstractmethod
    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are done with; returns once that is durable. One that was redelivered meanwhile is ignored.

        Whoever acknowledges has no more need of them: if it raises, each may come again, or may not.
        """

    @abstractmethod
    async def release(self, deliveries: Sequence[Delivery], after_s: float = 0.0) -> None:
        """Gives them back, for redelivery no sooner than after `after_s` seconds."""


class Bus(ABC):
    @property
    @abstractmethod
    def guarantees(self) -> BusGuarantees: ...

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def ensure(self, topics: Sequence[str], groups: Sequence[str]) -> None:
        """Makes the topics, and subscribes every group to every one of them; repeating it is harmless.

        A group receives what is published after this returned.
        """

    @abstractmethod
    async def publish(self, events: Sequence[Event]) -> None:
        """Returns once every event is confirmed for every group of its topic; a topic nobody has is no error.

        Raises:
            UnavailableError: some may be published; publish all again, with the same ids.
            InvalidError: an event is larger than the guarantees allow.
        """

    @abstractmethod
    def subscribe(self, topics: Sequence[str], group: str) -> AbstractAsyncContextManager[Receiver]:
        """Receives for a group that `ensure` made; leaving the context gives unacknowledged deliveries back."""

    @abstractmethod
    async def depth(self, group: str) -> int:
        """How many events wait for a group; those being delivered are included where `depths_held`."""

    @abstractmethod
    async def peek(self, group: str, most: int) -> Sequence[Event]:
        """The next events of a group, left where they are."""
