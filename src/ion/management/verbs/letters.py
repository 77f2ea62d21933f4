"""Verbs on the dead letters."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import msgspec

from ion.management.dead_letters import LetterFilter
from ion.model.job import Job


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """A job that waits again (or would), or, with `id` empty, a `note` on what was left out."""

    id: str = ""
    note: str = ""


class LetterVerbs(ABC):
    @abstractmethod
    def list(self, *, which: LetterFilter) -> AsyncIterator[Job]:
        """In the order of their admission. `which.correlation_id` and `which.revision` may be beginnings."""

    @abstractmethod
    def redrive(
        self,
        *,
        jobs: tuple[str, ...] = (),
        which: LetterFilter,
        everything: bool = False,
        image: str = "",
        dry: bool = False,
    ) -> AsyncIterator[Redriven]:
        """Queues dead letters again: those named, those that a filter fits, or every one; only one of the three.

        With `image`, their module gets it first, in a new revision. With `dry` it checks and tells.

        Raises:
            InvalidError: nothing, or more than one, says which.
            ConflictError: a flow is cancelled, a module gone.
        """
