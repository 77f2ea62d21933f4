"""Names of files, as a module may choose them and as an event may bring them.

A name that passes here can be a file below a directory on any host and a blob in any store, so that what works on a
laptop works in a cluster. Blanks, commas and every script are fine.
"""

import re
from collections.abc import Iterable

PATH_BYTES = 900
"""The narrowest store ends its keys at 1,024 bytes, of which an execution's prefix takes about 90."""
PART_BYTES = 255

_UNWANTED = re.compile(r"[\\\x00-\x1f\x7f]")


def fault_in(path: str) -> str:
    """What is wrong with a relative path, as the end of a sentence; empty if nothing is."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if path.startswith("/"):
        return "it is absolute"
    if _UNWANTED.search(path):
        return "its name has a backslash or a control character"
    parts = encoded.split(b"/")
    if not {b"", b".", b".."}.isdisjoint(parts):
        return "a part of it is '..', '.' or empty"
    if len(encoded) > PATH_BYTES or max(map(len, parts)) > PART_BYTES:
        return f"its name is longer than {PART_BYTES} bytes, or its path than {PATH_BYTES}"
    return ""


def shown(path: str) -> str:
    """A path as a message can carry it, whatever bytes it has."""
    text = path.encode("utf-8", "backslashreplace").decode()
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= 200 else f"{text[:200]}…"


def clash_of(paths: Iterable[str]) -> str:
    """What keeps files of these paths from lying in one folder, as the end of a sentence; empty if nothing does."""
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return f"'{shown(path)}' twice"
        seen.add(path)
    for path in seen:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in seen:
                return f"'{shown(folder)}' both as a file and as a folder"
            folder = folder.rpartition("/")[0]
    return ""
