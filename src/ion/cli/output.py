"""What commands print: results on standard output, remarks on standard error.

Plain, aligned text without colours, so that it reads the same on a terminal, in a pipe and in a log file. Subjects,
file names and messages come from modules and from outside: none of their control characters reaches a terminal.
"""

import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

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


async def lines(documents: AsyncIterator[Any]) -> None:
    """JSON documents, one a line, written as they come."""
    import msgspec

    async for one in documents:
        click.echo(msgspec.json.encode(one).decode())


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


async def write_file(file: Path, pieces: AsyncIterator[bytes]) -> None:
    """Writes a file that takes the place of an older one only when it is whole."""
    with _replacing(file) as stream:
        async for piece in pieces:
            stream.write(piece)


@contextmanager
def _replacing(file: Path) -> Iterator[IO[bytes]]:
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".partial", dir=file.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        partial.chmod(0o644)  # mkstemp's is for nobody else; what a command writes is made to be read
        partial.replace(file)
    except BaseException:
        partial.unlink()
        raise


def here(path: str) -> str:
    """A path as it is typed from this folder, if it lies in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
