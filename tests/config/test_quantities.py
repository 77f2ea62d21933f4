"""Durations and quantities as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.config.quantities import parse_cpu, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600),
        ("30s", 30),
        ("250ms", 0.25),
        ("2h30m", 9000),
        ("1d", 86400),
        ("90", 90),
        ("1.5", 1.5),
        ("0.5h", 1800),
        ("1m500ms", 60.5),
        ("0", 0),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    """Units add up, and a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:30", "h", "-5s", "1e3", "5 s", "30s2h", "1h1h", "5min", "36501d", "9" * 400, "٣s"]
)
def test_other_durations_are_refused(text: str) -> None:
    """Whatever could be read in two ways, or not at all, is refused."""
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("4Gi", 4 * 2**30),
        ("1G", 10**9),
        ("0.5Gi", 2**29),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1e3", 1000),
        ("1.0001k", 1001),
    ],
)
def test_sizes_are_bytes_rounded_up(text: str, size: int) -> None:
    """Suffixes with `i` are powers of 1024, those without of 1000."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4GB", "4g", "500m", "-1", "1e99", "16Ei", "Gi", "1 Gi", "NaN", "9" * 400])
def test_other_sizes_are_refused(text: str) -> None:
    """A wrong suffix, a thousandth of a byte and more than 8 EiB are refused."""
    with pytest.raises(ValueError, match=r"bytes|8Ei"):
        parse_size(text)


@pytest.mark.parametrize(("text", "cores"), [("2", 2), ("0.5", 0.5), ("500m", 0.5), ("1500m", 1.5)])
def test_cpu_is_cores(text: str, cores: float) -> None:
    """`m` is a thousandth of a core."""
    assert parse_cpu(text) == cores


@given(st.text(alphabet="0123456789.dhmskKMGTPEie+-: ", max_size=40))
def test_no_text_ends_otherwise_than_in_a_number_or_a_refusal(text: str) -> None:
    """Any text is a finite amount of at least zero, or a ValueError."""
    for parse in (parse_duration, parse_size, parse_cpu):
        with contextlib.suppress(ValueError):
            assert 0 <= parse(text) < 2**63


@given(st.integers(0, 9999), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_units(hours: int, minutes: int, seconds: int, millis: int) -> None:
    """Hours, minutes, seconds and milliseconds may be written together."""
    expected = hours * 3600 + minutes * 60 + seconds + millis / 1000
    assert parse_duration(f"{hours}h{minutes}m{seconds}s{millis}ms") == pytest.approx(expected)
