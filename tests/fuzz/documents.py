"""JSON as careless and hostile programs write it: any value, nearly right documents, and bytes that were damaged."""

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["", "a.png", "../a.png", "/etc/passwd", "\ud800", "\0", "é", "💥", "2024-05-01T00:00:00Z"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.just("files"), inner, max_size=4),
    max_leaves=10,
)

ODD = [
    b"",
    b" ",
    b"null",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b"[" * 1_000 + b"]" * 1_000,
    b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
    b"[" * 100_000,
    b"9" * 5_000,
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"Infinity",
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b"\0",
    b"{}{}",
    b"{'a': 1}",
    b"// a\n{}",
    b'{"a": 1,}',
]
"""Documents and pieces of them that readers of JSON treat differently, or break at."""


def written(value: Any) -> bytes:
    """As JSON, with what msgspec would not write: NaN, numbers of any size, lone surrogates as escapes."""
    return json.dumps(value).encode()


def keyed(pairs: list[tuple[str, Any]]) -> bytes:
    """An object in which keys may stand twice."""
    return b"{%s}" % b",".join(written(key) + b":" + written(value) for key, value in pairs)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes], odd: Sequence[bytes] = ODD) -> bytes:
    """Bytes of which a few were lost, doubled, changed, moved or replaced by odd pieces."""
    raw = bytearray(draw(whole))
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 3))):
        start = chance.randrange(len(raw) + 1)
        end = min(len(raw), start + chance.choice([0, 1, 1, 2, 8, 64]))
        piece = bytes(raw[start:end])
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(5):
            case 0:
                del raw[start:end]
            case 1:
                raw[at:at] = piece
            case 2:
                raw[start:end] = bytes(chance.choice(b'{}[]":,\\01eu-. \xff\0') for _ in piece)
            case 3:
                raw[start:end] = chance.choice(odd)
            case 4:
                raw[start:end] = bytes(reversed(piece))
    return bytes(raw)
