"""Log lines, whatever is logged: each is one JSON object, and each goes through the pipe."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.management.telemetry.records import Line, framed, unframed
from ion.management.telemetry.telemetry import _Lines
from ion.messaging.loglines import MOST, JsonLines


class Logged:
    """A logger whose records go to standard error as JSON, and to the pipe."""

    def __init__(self) -> None:
        self.stream, self.lines = io.StringIO(), _Lines()
        self.log = logging.Logger("tests")  # noqa: LOG001 - only ours hear it
        written = logging.StreamHandler(self.stream)
        written.setFormatter(JsonLines())
        self.log.addHandler(written)
        self.log.addHandler(self.lines)

    def objects(self) -> list[dict[str, Any]]:
        """What was written; each line by itself."""
        text = self.stream.getvalue()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.removesuffix("\n").split("\n")]

    def piped(self) -> list[Line]:
        """What came out of the pipe."""
        stream = io.BytesIO(b"".join(map(framed, self.lines.taken())))
        return [record for record in unframed(stream) if isinstance(record, Line)]


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def logged() -> Iterator[Logged]:
    one = Logged()
    yield one
    one.log.handlers.clear()


@given(st.text(st.characters(codec=None)))
def test_any_text_is_one_line(text: str) -> None:
    """Newlines, noughts and halves of characters, as in names of files that are no UTF-8, among it."""
    logged = Logged()
    logged.log.warning("%s", text)
    (line,), (piped,) = logged.objects(), logged.piped()
    assert line["message"] == piped.message == text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("%d jobs", ("many",), "%d jobs (TypeError: its values do not fit)"),
        ("%s and %s", ("one",), "%s and %s (TypeError: its values do not fit)"),
        ("100%", (1,), "100% (ValueError: its values do not fit)"),
        ("%s", (b"\xff\n",), "b'\\xff\\n'"),
    ],
)
def test_a_faulty_call_is_a_line_and_harms_nobody(
    logged: Logged, capsys: pytest.CaptureFixture[str], text: str, values: tuple[Any, ...], said: str
) -> None:
    """It may be a library's; who logs goes on, and nothing else is printed."""
    logged.log.warning(text, *values)
    assert [line["message"] for line in logged.objects()] == [said]
    assert [line.message for line in logged.piped()] == [said]
    assert capsys.readouterr().err == ""


def test_an_exception_is_in_its_line(logged: Logged) -> None:
    """With where it came from; also one that cannot say what it is."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    for error in (ValueError("two\nlines \udcff"), MuteError()):
        try:
            fail(error)
        except Exception:
            logged.log.exception("it failed", stack_info=True)
    first, mute = logged.objects()
    assert "ValueError: two\nlines \\udcff" in first["exception"]
    assert "MuteError" in mute["exception"]
    assert "test_an_exception_is_in_its_line" in first["stack"]
    one, other = logged.piped()
    assert one.attributes["exception.message"] == "two\nlines \\udcff"
    assert other.attributes["exception.type"] == "MuteError"


def test_a_huge_line_is_told_by_its_begin_and_end(logged: Logged) -> None:
    """Megabytes in one message cost neither a collector's limit nor the memory of who exports."""
    logged.log.warning("begin %s end", "x" * 10_000_000)
    (line,), (piped,) = logged.objects(), logged.piped()
    assert line["message"] == piped.message
    assert line["message"].startswith("begin x")
    assert line["message"].endswith("x end")
    assert len(line["message"]) < MOST + 100
