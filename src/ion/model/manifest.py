"""What an attempt produced: the document that commit writes last, and from which everything after is a replay."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from ion.model.event import Event, FileRef

_PIECES = "log"
_PIECE = re.compile(rf"[^/]+/[0-9]+/([^/]+)/{_PIECES}/([0-9]+)-([0-9]+)")

INLINE_LIMIT = 32 * 1024
"""A manifest of at most so many bytes is kept in the job's row as well (R3)."""


class Insight(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key/value kept for analysis. `value` is text; `typed` the value itself where it was not a string."""

    key: str
    value: str
    typed: Any = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the module's processes used: seconds of processor and device, the peak resident memory in bytes."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    peak_memory: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The results of one execution of one attempt.

    `inputs` and `files` carry hashes; `events` are complete, with their ids, so that relaying them again gives the
    same. `secrets` are names, never values. `log` is the attempt's whole log. `devices` are the gpu devices it had.
    """

    job: str
    attempt: int
    execution: str
    module: str
    event_id: str
    correlation_id: str
    parent_event_id: str
    revision: str = ""
    image_digest: str = ""
    started_at: datetime
    ended_at: datetime
    inputs: tuple[FileRef, ...] = ()
    files: tuple[FileRef, ...] = ()
    events: tuple[Event, ...] = ()
    insights: tuple[Insight, ...] = ()
    log: FileRef | None = None
    secrets: tuple[str, ...] = ()
    host: str = ""
    devices: tuple[str, ...] = ()
    usage: Usage = Usage()


class ManifestRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a manifest is, and enough of it for a row. `inline` is its JSON text if it is small enough."""

    blob: str
    sha256: str
    execution: str
    files: int = 0
    events: int = 0
    insights: int = 0
    inline: str = ""
    log: str = ""
    started_at: datetime
    ended_at: datetime


def manifest_path(job: str, attempt: int, execution: str) -> str:
    """Where commit writes the manifest of an execution."""
    return f"{execution_prefix(job, attempt, execution)}manifest.json"


def execution_prefix(job: str, attempt: int, execution: str) -> str:
    """The prefix below which an execution's blobs lie: `job/attempt/execution/`."""
    return f"{attempt_prefix(job, attempt)}{execution}/"


def attempt_prefix(job: str, attempt: int) -> str:
    """The prefix of all executions of an attempt."""
    return f"{job}/{attempt}/"


def log_path(job: str, attempt: int, execution: str) -> str:
    """Where an execution's whole log lies."""
    return f"{execution_prefix(job, attempt, execution)}log.txt"


def piece_path(job: str, attempt: int, execution: str, first: int, last: int) -> str:
    """Where a piece of a growing log lies: its bytes from `first` until before `last`. It goes once the log is whole.

    Two who read the same log store the same bytes, though they may cut them elsewhere.
    """
    return f"{execution_prefix(job, attempt, execution)}{_PIECES}/{first:012}-{last:012}"


def pieces_prefix(job: str, attempt: int, execution: str) -> str:
    """The folder of a growing log's pieces."""
    return f"{execution_prefix(job, attempt, execution)}{_PIECES}/"


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes from `first` until before `last` of a growing log, in a blob that begins with byte `at`."""

    path: str
    execution: str
    at: int
    first: int
    last: int


def log_pieces(paths: Iterable[str]) -> list[Piece]:
    """What of an attempt's growing log is stored in pieces, without a gap and with no byte twice.

    Of several executions it is the one that has logged the most.
    """
    logs: dict[str, list[Piece]] = {}
    for path in sorted(paths):
        if (found := _PIECE.fullmatch(path)) is None:
            continue
        log, first, last = logs.setdefault(found[1], []), int(found[2]), int(found[3])
        known = log[-1].last if log else 0
        if first <= known < last:
            log.append(Piece(path=path, execution=found[1], at=first, first=known, last=last))
    return max(logs.values(), key=lambda log: log[-1].last if log else 0, default=[])
