"""`ion insights export`: what is written is read back by the tools that it is for."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]

from ion.cli import insights_files
from ion.cli.insights_files import guarded

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

COLUMNS = ["at", "correlation_id", "event_id", "job", "module", "revision", "subject", "key", "value", "typed"]
FOUND: dict[str, Any] = {"faces": 2, "label": 'a "cat", or\ntwo; Übung', "empty": "", "box": [1, -2.5], "none": None}
TEXTS = {"faces": "2", "label": FOUND["label"], "empty": "", "box": "[1,-2.5]", "none": "null"}


@pytest.fixture
def found(bench: "Bench") -> "Bench":
    """A job found something of every kind."""
    bench.photo("album", subject="holiday/cat.jpg")
    bench.succeed("detect", out={"insights.json": json.dumps(FOUND)})
    return bench


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_a_header_and_a_row_an_insight(found: "Bench") -> None:
    """Read back by the csv module, every value is as it was found, line ends and quotes included."""
    result = found.ion("insights", "export", "--module", "detect", "--since", "1h")
    rows = rows_of(result.stdout)
    assert list(rows[0]) == COLUMNS
    assert {row["key"]: row["value"] for row in rows} == TEXTS
    assert {row["key"]: row["typed"] for row in rows} == {**dict.fromkeys(FOUND, ""), "faces": "2", "box": "[1,-2.5]"}
    assert {(row["module"], row["correlation_id"], row["subject"]) for row in rows} == {
        ("detect", "album", "holiday/cat.jpg")
    }
    assert "5 insights" in result.stderr


def test_json_lines_are_documents(found: "Bench") -> None:
    """Each line has the same columns."""
    lines = [json.loads(line) for line in found.ion("insights", "export", "--format", "jsonl").stdout.splitlines()]
    assert [list(line) for line in lines] == [COLUMNS] * 5
    assert {line["key"]: line["value"] for line in lines} == TEXTS


def test_parquet_is_read_by_pyarrow(found: "Bench", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are times, what was text has no typed value; rows come in groups, so that memory holds one."""
    monkeypatch.setattr(insights_files, "GROUP_ROWS", 2)
    file = tmp_path / "found.parquet"
    found.ion("insights", "export", "-o", str(file))
    table = parquet.read_table(file)
    assert table.column_names == COLUMNS
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    rows = table.to_pylist()
    assert {row["key"]: row["value"] for row in rows} == TEXTS
    assert {row["key"]: row["typed"] for row in rows} == {**dict.fromkeys(FOUND), "faces": "2", "box": "[1,-2.5]"}
    assert parquet.ParquetFile(file).num_row_groups == 3


def test_nothing_found_is_a_file_without_rows(bench: "Bench", tmp_path: Path) -> None:
    """Every format is whole, and has its columns."""
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        bench.ion("insights", "export", "-o", str(tmp_path / name))
    assert rows_of((tmp_path / "a.csv").read_text()) == []
    assert parquet.read_table(tmp_path / "a.parquet").column_names == COLUMNS
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_what_is_exported_is_narrowed(found: "Bench") -> None:
    """By module, flow and time."""
    for arguments in (("-n", "count"), ("--until", "1h"), ("--since", "2100-01-01")):
        assert rows_of(found.ion("insights", "export", *arguments).stdout) == []
    assert len(rows_of(found.ion("insights", "export", "-c", "alb").stdout)) == 5
    assert "there is no flow 'zzz'" in found.ion("insights", "export", "-c", "zzz", code=2).stderr


def test_a_spreadsheet_meets_no_formula(bench: "Bench") -> None:
    """What it would take for one gets an apostrophe, unless --raw; numbers stay what they are."""
    bench.photo(subject="=1+1")
    bench.succeed("detect", out={"insights.json": '{"@sum": "=HYPERLINK(\\"x\\")", "low": -2.5}'})
    cells = [(row["subject"], row["key"], row["value"]) for row in rows_of(bench.ion("insights", "export").stdout)]
    assert cells == [("'=1+1", "'@sum", '\'=HYPERLINK("x")'), ("'=1+1", "low", "-2.5")]
    raw = rows_of(bench.ion("insights", "export", "--raw").stdout)
    assert [row["key"] for row in raw] == ["@sum", "low"]


@pytest.mark.parametrize("text", ["", "cat", "-1", "+2.5e-3", "-.5", "1=2", "'=x"])
def test_a_cell_that_is_no_formula_is_left_alone(text: str) -> None:
    """Only a first sign that begins a formula counts."""
    assert guarded(text) == text


@pytest.mark.parametrize("text", ["=1", "+cmd|x", "-1+1", "@a", "\t=1", "\r=1", "-", "+1;2"])
def test_a_cell_that_may_be_a_formula_becomes_text(text: str) -> None:
    """An apostrophe stands before it."""
    assert guarded(text) == f"'{text}"


def test_a_file_is_whole_or_as_it_was(found: "Bench", tmp_path: Path) -> None:
    """An export that fails leaves the file of before, and nothing beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "found.csv"
    file.write_text("before")
    found.ion("insights", "export", "-c", "zzz", "-o", str(file), code=2)
    assert (file.read_text(), list(folder.iterdir())) == ("before", [file])
    found.ion("insights", "export", "-o", str(file))
    assert (len(rows_of(file.read_text())), list(folder.iterdir())) == (5, [file])
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_place_that_cannot_be_written_is_refused(found: "Bench", tmp_path: Path) -> None:
    """One sentence names it; Parquet on standard output is refused as well."""
    nowhere = tmp_path / "no" / "found.csv"
    assert f"{nowhere} cannot be written" in found.ion("insights", "export", "-o", str(nowhere), code=2).stderr
    assert "is a directory" in found.ion("insights", "export", "-o", str(tmp_path), code=2).stderr
    assert "name one with -o" in found.ion("insights", "export", "--format", "parquet", code=2).stderr
