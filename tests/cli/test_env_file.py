"""Files of variables for `ion module create`."""

from pathlib import Path

import pytest

from ion.cli.env_file import read_env_file
from ion.errors import InvalidError


def test_variables_are_read_as_engines_read_them(tmp_path: Path) -> None:
    """Quotes, remarks, `export`, blanks around the sign, values with signs in them, and the last of one name."""
    file = tmp_path / "x.env"
    file.write_text(
        "\ufeff# a remark\n\n"
        "PLAIN=one two # not this\n"
        "export EXPORTED = yes\n"
        "SIGNS=a=b#c\n"
        "EMPTY=\n"
        "ONLY= # a remark\n"
        'DOUBLE="a \\"b\\"\\n# c" # d\n'
        "SINGLE='a \\n \"b\"'\n"
        "TWICE=1\nTWICE=2\n",
        encoding="utf-8",
    )
    assert read_env_file(file) == {
        "PLAIN": "one two",
        "EXPORTED": "yes",
        "SIGNS": "a=b#c",
        "EMPTY": "",
        "ONLY": "",
        "DOUBLE": 'a "b"\n# c',
        "SINGLE": 'a \\n "b"',
        "TWICE": "2",
    }


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    """With the file and the line; a file that is not there is named too."""
    file = tmp_path / "x.env"
    file.write_text("A=1\nnothing\n")
    with pytest.raises(InvalidError, match=r"x\.env:2: this is no variable and its value: write KEY=VALUE"):
        read_env_file(file)
    with pytest.raises(InvalidError, match=r"away\.env cannot be read"):
        read_env_file(tmp_path / "away.env")
