"""What commands print: results on standard output, remarks on standard error.

Plain, aligned text without colours, so that it reads the same on a terminal, in a pipe and in a log file. Subjects,
file names and messages come from modules and from outside: none of their control characters reaches a terminal.
"""

import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from ion.management.flows import SHORT

UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]+")
"""Control characters, halves of characters, and those that break lines or turn the writing direction."""

SUBJECT_MOST = 40


def plain(text: str, most: int | None = None) -> str:
    """Foreign text on one line, cut to `most` characters."""
    clean = UNFIT.sub(" ", text).strip()
    return clean if most is None or len(clean) <= most else f"{clean[: most - 1]}…"


def short(identity: str) -> str:
    """As much of an id as a table shows; commands accept it."""
    return plain(identity)[:SHORT]


def moment(when: datetime | None) -> str:
    """A point in time on this host's clock, to the second."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}" if when else "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the last one runs on."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)]
        click.echo("  ".join(cells).rstrip())


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Name and value, a line each; what is empty is left out."""
    for name, value in pairs:
        if value:
            click.echo(f"{name:<10} {value}")


def document(value: Any) -> None:
    """One JSON document, indented for people; scripts do not mind."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


async def array(documents: AsyncIterator[Any]) -> None:
    """One JSON array, an element a line, written as the elements come."""
    import msgspec

    before = "["
    async for one in documents:
        click.echo(before + "\n" + msgspec.json.encode(one).decode(), nl=False)
        before = ","
    click.echo("\n]" if before == "," else "[]")


def remark(text: str) -> None:
    """A line beside the results, dim on a terminal."""
    click.echo(click.style(text, dim=True), err=True)


def raw(content: bytes) -> None:
    """Bytes as they are: a log."""
    stream = sys.stdout.buffer
    stream.write(content)
    stream.flush()


def here(path: str) -> str:
    """A path as it is typed from this folder, if it lies in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
