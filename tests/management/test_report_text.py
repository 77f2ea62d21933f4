"""Text for people: quantities as they are said, and foreign text made harmless."""

import pytest

from ion.management.report_text import duration, href, log_text, size, text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "—"), (-1, "0.00 s"), (0.421, "0.42 s"), (9.999, "10.0 s"), (59.99, "1 min 0 s"), (192, "3 min 12 s"),
     (3599.7, "1 h 0 min"), (7500, "2 h 5 min"), (97200, "1 d 3 h")],
)  # fmt: skip
def test_durations_are_said_the_way_people_do(seconds: float | None, said: str) -> None:
    """Two units at most, rounded once."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (123456, "123 KB"), (999_960, "1.0 MB")]
)
def test_sizes_are_said_the_way_people_do(count: int, said: str) -> None:
    """Powers of a thousand, three digits at most."""
    assert size(count) == said


def test_foreign_text_is_harmless() -> None:
    """Markup is escaped, control characters and terminal colours go, other schemes are no links."""
    assert text('<a href="x">\x00') == "&lt;a href=&quot;x&quot;&gt;\N{REPLACEMENT CHARACTER}"
    assert log_text(b"\x1b[31mred\x1b[0m \xff") == "red \N{REPLACEMENT CHARACTER}"
    assert href("javascript:alert(1)") == ""
    assert href("https://a.example/?a&b") == ' href="https://a.example/?a&amp;b"'
