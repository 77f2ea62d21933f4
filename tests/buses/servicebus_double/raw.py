"""Encoded AMQP messages as bytes: a batch is a message with one data section for each message in it."""

BATCH_BODY = 0x75
_FIRST = b"\x00\x53"


def split(raw: bytes) -> list[bytes]:
    """The messages of a batch; a message that is none comes back alone."""
    bodies = [content for code, content in _sections(raw) if code == BATCH_BODY]
    if bodies and all(body.startswith(_FIRST) for body in bodies):
        return bodies
    return [raw]


def _sections(raw: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(raw):
        code = raw[at + 2]
        start, end = _extent(raw, at + 3)
        found.append((code, raw[start:end]))
        at = end
    return found


def _extent(raw: bytes, at: int) -> tuple[int, int]:
    """Where the content of the value lies whose constructor is at `at`: only what a section can be."""
    constructor = raw[at]
    if constructor == 0x45:
        return at + 1, at + 1
    if constructor in (0xA0, 0xC0, 0xC1, 0xA1):
        return at + 2, at + 2 + raw[at + 1]
    return at + 5, at + 5 + int.from_bytes(raw[at + 1 : at + 5], "big")
