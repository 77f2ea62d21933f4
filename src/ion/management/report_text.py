"""Text for people in a report: everything foreign is escaped here, and quantities are put the way people say them.

Subjects, insights, logs and file names come from modules and from outside. They reach the page through `text` only, and
links through `href`, which lets no scheme pass that could run something.
"""

import html
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from ion.model.job import State

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""What has no place in a page: control characters, halves of characters, and those that turn the writing direction."""

COLOURING = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Terminal sequences of logs."""

SCHEMES = ("https://", "http://", "file://")


def text(value: str, most: int | None = None) -> str:
    """Foreign text for a page, as content or as a quoted attribute; longer than `most` characters it is cut."""
    if most is not None and len(value) > most:
        value = f"{value[: most - 1]}…"
    return html.escape(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value.replace("\r\n", "\n").replace("\r", "\n")))


def log_text(content: bytes) -> str:
    """A log's bytes for a page, without terminal colours."""
    return text(COLOURING.sub("", content.decode(errors="replace")))


def href(url: str) -> str:
    """The attribute of a link, or nothing where the URL is of a kind that a report does not link to."""
    return f' href="{text(url)}"' if url.startswith(SCHEMES) else ""


def plain(value: Any) -> str:
    """An insight's value: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def duration(seconds: float | None) -> str:
    """As `0.42 s`, `12.4 s`, `3 min 12 s`, `2 h 5 min`, `1 d 3 h`; a dash for none."""
    if seconds is None:
        return "—"
    seconds = max(0.0, seconds)
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, small in (("min", 60, "s", 1), ("h", 3600, "min", 60), ("d", 86400, "h", 3600)):
        if whole < {"min": 3600, "h": 86400}.get(unit, whole + 1):
            return f"{whole // size} {unit} {whole % size // small} {below}"
    raise AssertionError(seconds)


def size(count: int) -> str:
    """As `0 B`, `999 B`, `12.3 KB`: powers of 1000."""
    if count < 1000:
        return f"{count} B"
    amount = count / 1000
    for unit in ("KB", "MB", "GB", "TB"):
        if amount < 999.5:
            return f"{amount:.1f} {unit}" if amount < 99.95 else f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.0f} PB"


def moment(when: datetime | None) -> str:
    """A point in time, in UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if when else "—"


def many(count: int, noun: str) -> str:
    """As `1 job`, `2 jobs`, `10,000 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return max(0.0, (end - start).total_seconds()) if start and end else None


def listed(states: Counter[State]) -> str:
    """As `3 released, 1 dead`, in the order of a job's life."""
    return ", ".join(f"{states[state]:,} {state}" for state in State if states[state])
