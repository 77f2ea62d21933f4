"""Verbs that look through what was found and stored: for a subject, a file's hash, an insight; and why."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from ion.model.event import FileRef
from ion.model.job import Job
from ion.model.manifest import Insight


class KeyValue(msgspec.Struct, frozen=True, kw_only=True):
    """An insight to look for: its key, and its value as text."""

    key: str
    value: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A job that fits, and by what: `by` is `subject`, `in` or `out` (a file's hash) or `insight`; `what` names it."""

    job: Job
    by: str
    what: str = ""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain that led to a job: the job, the image it ran, what it got and what it found.

    `waits` says of the job that was asked for why it is not started, in a sentence; empty where it is, or has its turn.
    """

    job: Job
    image: str = ""
    image_digest: str = ""
    command: tuple[str, ...] = ()
    inputs: tuple[FileRef, ...] = ()
    insights: tuple[Insight, ...] = ()
    waits: str = ""


class InsightRow(msgspec.Struct, frozen=True, kw_only=True):
    """One insight of one execution; `value` is text, `typed` the JSON text of what it was where that was no text."""

    at: datetime
    correlation_id: str
    event_id: str
    job: str
    module: str
    revision: str
    subject: str
    key: str
    value: str
    typed: str = ""


class FindingVerbs(ABC):
    @abstractmethod
    def find(
        self,
        *,
        subject: str = "",
        sha256: str = "",
        insights: tuple[KeyValue, ...] = (),
        flow: str = "",
    ) -> AsyncIterator[Found]:
        """Jobs that every criterion fits, in the order of their admission: a subject (`*` stands for any text), a
        file's SHA-256 (hexadecimal, or the beginning of 8 digits or more), insights by key and value.

        Raises InvalidError: no criterion is given, or one cannot be used.
        """

    @abstractmethod
    async def why(self, *, job: str) -> tuple[Cause, ...]:
        """The job and what it came of, up to the job that raised the root event, which is the last."""

    @abstractmethod
    def insights(
        self, *, module: str = "", flow: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> AsyncIterator[InsightRow]:
        """Insights of jobs whose results count (superseded runs do not), in the order of admission. `since` and
        `until` bound when the execution ended.
        """
