r"""Files of environment variables, as the original and container engines read them: `KEY=VALUE` a line.

Empty lines and lines that begin with `#` say nothing, a leading `export` neither. A value may stand in quotes; in
double ones `\n`, `\"` and `\\` mean what they do in a shell. Without quotes, ` #` begins a remark.
"""

import re
from pathlib import Path

from ion.errors import InvalidError

_LINE = re.compile(
    r"""(?:export\s+)?(?P<key>[^\s=]+)\s*=\s*(?P<value>|"(?:[^"\\]|\\.)*"|'[^']*'|[^"'].*?)\s*(?:(?<=\s)#.*)?"""
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def read_env_file(file: Path) -> dict[str, str]:
    """The variables; the last of one name counts. Raises InvalidError, with the file and the line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InvalidError(f"the file of variables {file} cannot be read ({error}); give one in UTF-8") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        parsed = _LINE.fullmatch(stripped)
        if parsed is None:
            raise InvalidError(f"{file}:{number}: this is no variable and its value: write KEY=VALUE")
        found[parsed["key"]] = _value(parsed["value"])
    return found


def _value(written: str) -> str:
    if written.startswith("'"):
        return written[1:-1]
    if written.startswith('"'):
        return re.sub(r"\\(.)", lambda escaped: _ESCAPED.get(escaped[1], escaped[1]), written[1:-1])
    return written
