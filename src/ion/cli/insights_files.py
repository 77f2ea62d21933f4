"""Insights in a file: CSV, JSON lines or Parquet, written as rows come, so that memory holds few of them.

A file appears under its name once it is whole; an export that fails leaves what was there before.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from ion.errors import InvalidError, UnsupportedError
from ion.management.verbs.findings import InsightRow

COLUMNS = InsightRow.__struct_fields__
GROUP_ROWS = 10_000
GROUP_BYTES = 16 * 1024 * 1024
"""A row group of Parquet is written when it has so many rows, or about so many bytes of text."""

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Rows(Protocol):
    """Takes rows; `close` writes what is held back."""

    def add(self, row: InsightRow) -> None: ...

    def close(self) -> None: ...


@contextmanager
def opened(kind: str, output: Path | None, *, raw: bool) -> Iterator[Rows]:
    """Rows that go into a file, or without one to standard output; the file is whole or absent.

    Raises:
        InvalidError: there is no writing to that place. UnsupportedError: Parquet's library is not here.
    """
    if output is None:
        with closing(_rows(kind, sys.stdout.buffer, raw=raw)) as rows:
            yield rows
        sys.stdout.buffer.flush()
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with draft.open("xb") as stream, closing(_rows(kind, stream, raw=raw)) as rows:
            yield rows
        draft.replace(output)
    except OSError as error:
        raise InvalidError(f"{output} cannot be written: {error.strerror or error}; name another place") from error
    finally:
        draft.unlink(missing_ok=True)


def _rows(kind: str, stream: BinaryIO, *, raw: bool) -> Rows:
    match kind:
        case "parquet":
            return ParquetRows(stream)
        case "jsonl":
            return JsonRows(stream)
        case _:
            return CsvRows(stream, raw=raw)


class CsvRows:
    """A header, and a line a row; UTF-8. Every cell is quoted: a spreadsheet may part cells at other signs, too."""

    def __init__(self, stream: BinaryIO, *, raw: bool) -> None:
        self._text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        self._writer, self._raw = csv.writer(self._text, lineterminator="\n", quoting=csv.QUOTE_ALL), raw
        self._writer.writerow(COLUMNS)

    def add(self, row: InsightRow) -> None:
        cells = [row.at.isoformat(), *(getattr(row, column) for column in COLUMNS[1:])]
        self._writer.writerow(cells if self._raw else [guarded(cell) for cell in cells])

    def close(self) -> None:
        self._text.detach()


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


class JsonRows:
    """A JSON document a line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, row: InsightRow) -> None:
        self._stream.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Every line is written."""


class ParquetRows:
    """Columns of text, and of time in microseconds; `typed` is null for what was text."""

    def __init__(self, stream: BinaryIO) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped]
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise UnsupportedError(
                "Parquet needs a library that is not here: install ion-events[parquet], or export CSV"
            ) from error
        moment = pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False)
        texts = [pa.field(column, pa.string(), nullable=column == "typed") for column in COLUMNS[1:]]
        self._schema: Any = pa.schema([moment, *texts])
        self._batch_of = pa.RecordBatch.from_pydict
        self._writer: Any = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._held: list[InsightRow] = []
        self._bytes = 0

    def add(self, row: InsightRow) -> None:
        self._held.append(row)
        self._bytes += len(row.value) + len(row.typed) + len(row.subject)
        if len(self._held) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write()

    def close(self) -> None:
        if self._held:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        columns = {column: [getattr(row, column) for row in self._held] for column in COLUMNS}
        columns["typed"] = [typed or None for typed in columns["typed"]]
        self._writer.write_batch(self._batch_of(columns, schema=self._schema))
        self._held, self._bytes = [], 0
