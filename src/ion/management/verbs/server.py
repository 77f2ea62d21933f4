"""Verbs on the whole of an Ion: how it fares, what is amiss, what takes up room, who changed what."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from ion.management.audit import Finding
from ion.management.collect import Collected
from ion.management.usage import By
from ion.management.verbs.modules import ModuleState
from ion.ports.ledger import Entry, Owner


class Information(msgspec.Struct, frozen=True, kw_only=True):
    """What an Ion is. `place` names its store in a word or two (a folder, `management of HOST`); kinds are those of
    its ports; `now` is the ledger's clock. `actor` and `role` are the caller's.
    """

    version: str
    place: str = ""
    ledger: str = ""
    documents: str = ""
    bus: str = ""
    blobs: str = ""
    now: datetime
    actor: str = ""
    role: str = ""


COUNTED_MOST: Final = 2000
"""So many jobs of one module and state are counted: a figure that reaches this means so many or more."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A look at everything that is alive: modules with their jobs, and the dispatchers.

    `open` and `dead` are sums over the modules; `unreleased` counts committed jobs, those of gateways too, and
    `oldest_unreleased_s` is the age of the oldest.
    """

    now: datetime
    modules: tuple[ModuleState, ...] = ()
    dispatchers: tuple[Owner, ...] = ()
    open: int = 0
    unreleased: int = 0
    oldest_unreleased_s: float | None = None
    dead: int = 0


class Grade(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"


class Symptom(msgspec.Struct, frozen=True, kw_only=True):
    """What the doctor found of one thing, in a sentence; `command` is what to do next, empty if nothing."""

    about: str
    grade: Grade
    message: str
    command: str = ""


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes by part (`ion.management.needed.Part`, by its value) of one module, flow or kind."""

    key: str
    blobs: int
    bytes: dict[str, int] = {}


class ServerVerbs(ABC):
    @abstractmethod
    async def info(self) -> Information: ...

    @abstractmethod
    async def overview(self) -> Overview: ...

    @abstractmethod
    def doctor(self) -> AsyncIterator[Symptom]:
        """Reachability of each port, clocks, oldest waiting jobs, unreleased events, paused and tripped modules."""

    @abstractmethod
    def audit(self) -> AsyncIterator[Finding]:
        """Whether the ledger agrees with itself, the blobs and the documents; see `ion.management.audit`."""

    @abstractmethod
    async def usage(self, *, by: By) -> tuple[UsageRow, ...]:
        """What the blobs take up, the largest first."""

    @abstractmethod
    async def collect(self, *, dry: bool = False) -> Collected:
        """Deletes what retention no longer keeps, and what nobody needs."""

    @abstractmethod
    def trail(self, *, since: datetime | None = None, most: int = 1000) -> AsyncIterator[Entry]:
        """The audit trail, the newest last: the last `most` entries since then."""
