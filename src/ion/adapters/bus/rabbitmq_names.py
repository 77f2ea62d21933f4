"""Event types as routing keys and groups as names of queues: readable, below 255 bytes, and no two alike.

What has a meaning of its own to a topic exchange (`*` and `#`) or is not printable ASCII is written as `%` and two
hexadecimal digits a byte. What is too long then is cut and ends in `%~` and a hash, which nothing else can have. In
names of queues, where clients take fewer characters, it is `+` in place of `%`, and `+:` before the hash.
"""

import hashlib
import string

from ion.errors import InvalidError
from ion.messaging.codec import TYPE_MOST, valid_type

NAME_MOST = 255
"""Bytes of a short string in AMQP 0-9-1."""
_KEY = frozenset(range(0x21, 0x7F)) - frozenset(b"%*#")
_QUEUE = frozenset(f"{string.ascii_letters}{string.digits}-_.@,/".encode())


def routing_key(topic: str) -> str:
    """Raises InvalidError if no event can have this type."""
    if not valid_type(topic):
        raise InvalidError(
            f"the topic {topic[:100]!r} cannot be used: it must be 1 to {TYPE_MOST} printable characters without blanks"
        )
    return _shortened(_escaped(topic, _KEY, "%"), NAME_MOST, "%~")


def queue_name(prefix: str, group: str) -> str:
    """Raises InvalidError if the group's name is empty or no text."""
    start = f"{prefix}."
    try:
        if not group:
            raise InvalidError("a group must have a name")
        return start + _shortened(_escaped(group, _QUEUE, "+"), NAME_MOST - len(start), "+:")
    except UnicodeEncodeError as error:
        raise InvalidError(f"the group {group[:100]!r} cannot be used: it is not text ({error.reason})") from error


def _escaped(name: str, plain: frozenset[int], mark: str) -> str:
    return "".join(chr(byte) if byte in plain else f"{mark}{byte:02X}" for byte in name.encode())


def _shortened(name: str, most: int, mark: str) -> str:
    if len(name) <= most:
        return name
    mark += hashlib.sha256(name.encode()).hexdigest()
    return name[: most - len(mark)] + mark
