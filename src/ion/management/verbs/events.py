"""Verbs on events: raising roots, looking at the bus."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from ion.management.events import Raised, RootFile


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A root event as a client asks for it, its files beside it; `gateway` is who raises it.

    An `id` makes it repeatable; without a `correlation_id` it begins a flow. `force`: raise it even if no module
    hears it.
    """

    type: str
    data: Any = msgspec.field(default_factory=dict)
    subject: str = ""
    id: str = ""
    correlation_id: str = ""
    parent_id: str = ""
    time: datetime | None = None
    traceparent: str = ""
    gateway: str = "cli"
    force: bool = False


Files: TypeAlias = Sequence[RootFile] | Callable[[], Awaitable[Sequence[RootFile]]]
"""The files of an event, or what brings them: it is asked once the event may be raised, so that nobody's are taken in
who may not raise it.
"""


class EventVerbs(ABC):
    @abstractmethod
    async def create(self, *, event: NewEvent, files: Files = ()) -> Raised:
        """Raises a root event; when it returns, the event is in the ledger. `files` are read in pieces, never whole.

        Raises:
            InvalidError: it cannot be used, or no module hears it. ConflictError: too much is open.
        """

    @abstractmethod
    def next(self, *, event_type: str, group: str, timeout_s: float = 5.0, take: bool) -> AsyncIterator[bytes]:
        """The next event of a subscription as CloudEvents JSON; with `take` it is taken out of the bus when the one who
        got it asks for more, so that it is not lost with him.

        Raises:
            NotFoundError: none came in time. UnsupportedError: this bus cannot be peeked at.
        """
