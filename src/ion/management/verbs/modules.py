"""Verbs on modules: what is registered, what it was before, and whether it goes on."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from enum import StrEnum

import msgspec

from ion.model.job import State
from ion.model.module import Module
from ion.ports.ledger import Past, Registered


class Fate(StrEnum):
    """What applying does to a module."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    UNCHANGED = "unchanged"


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field of a module's configuration (`resources.memory`) that is another, as JSON text on both sides."""

    field: str
    old: str = ""
    new: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What applying did to a module, or would do."""

    module: str
    fate: Fate
    revision: str = ""
    differences: tuple[Difference, ...] = ()


class Applied(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What applying did to each module, by name, and what is odd about the whole (sentences; none of them refuses)."""

    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


class ModuleState(msgspec.Struct, frozen=True, kw_only=True):
    """A registered module and how it fares: jobs by state (released and later ones are not counted), the age of its
    oldest waiting job in seconds (None: none waits), and the dispatchers that serve it.

    `standing` is one word: `ready`, `paused` (by a person), `tripped` (its breaker is open), `unserved` (jobs wait and
    no living dispatcher serves it); where management keeps its dispatchers also `idle` (none is wanted now),
    `deploying`, `failed` (they cannot be started) and `unknown`. `message` is the sentence to it.
    """

    registered: Registered
    jobs: dict[State, int] = {}
    oldest_s: float | None = None
    served_by: tuple[str, ...] = ()
    standing: str = ""
    message: str = ""


class ModuleVerbs(ABC):
    """Names are whole names, `name`, or deployed names of the original's form (`NAME-xxxxxxxx`)."""

    @abstractmethod
    async def list(self) -> tuple[Registered, ...]:
        """The registered modules, by name."""

    @abstractmethod
    async def get(self, *, name: str) -> ModuleState:
        """Raises NotFoundError, with the nearest name."""

    @abstractmethod
    async def apply(
        self, *, modules: tuple[Module, ...], pipeline: str = "", prune: bool = False, dry: bool = False
    ) -> Applied:
        """Registers modules or gives them a new revision; all or none, checked before (see `ion.management.checks`).

        With `prune`, other modules of the pipeline (without a name: of the same file) are removed. With `dry` it only
        tells what it would do.

        Raises:
            InvalidError: a module cannot be used; says which and why. ConflictError: a name is another pipeline's.
        """

    @abstractmethod
    async def delete(self, *, name: str, cancel: bool = False) -> Module:
        """Stops admissions; jobs that wait become dead letters, with `cancel` they are cancelled. NotFoundError."""

    @abstractmethod
    async def pause(self, *, name: str, paused: bool) -> Module:
        """Stops or starts claims; starting closes its breaker too. Raises NotFoundError."""

    @abstractmethod
    async def scale(self, *, name: str, concurrency: int) -> Change:
        """Gives it another concurrency (1 to 10,000), in a new revision."""

    @abstractmethod
    async def rollback(self, *, name: str, revision: str = "") -> Change:
        """Makes an earlier revision the current one: the one that begins so, else the one before the present.

        Raises NotFoundError: it never had it, or has had but one.
        """

    @abstractmethod
    def history(self, *, name: str) -> AsyncIterator[Past]:
        """Its revisions, the newest first, of a removed module too. Raises NotFoundError: it was never applied."""
