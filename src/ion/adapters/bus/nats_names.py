"""Event types and groups as what NATS calls subjects and consumers.

An event type keeps its dots, so that an outsider may subscribe to `ion.photo.>`. Every byte of its UTF-8 that is not
plain is written `=XX`, as in mail, and a token without a letter `=`, so no two types have one subject and none has a
wildcard. A group has a consumer for each of its topics, named `GROUP~DIGEST`: a topic may be longer than a consumer's
name, and `~` stands in no escaped group.
"""

import hashlib

from ion.errors import InvalidError
from ion.messaging.codec import TYPE_MOST, valid_type

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_IN_SUBJECTS = _LETTERS | frozenset(b":/+@")
GROUP_MOST = 200
"""Bytes of an escaped group: the server takes 255 for the consumer's whole name."""
_DIGEST = 24


def subject_of(prefix: str, topic: str) -> str:
    """The subject of an event type, below `prefix`.

    Raises:
        InvalidError: no event can have this type.
    """
    if not valid_type(topic):
        raise InvalidError(
            f"the event type {topic[:100]!r} cannot be a topic: write 1 to {TYPE_MOST} printable characters, no blanks"
        )
    return ".".join((prefix, *(_escaped(token, _IN_SUBJECTS) or "=" for token in topic.split("."))))


def consumer_of(group: str, topic: str) -> str:
    """The name of a group's consumer for one of its topics. Raises InvalidError where the group has no name for it."""
    digest = hashlib.sha256(topic.encode()).hexdigest()[:_DIGEST]
    return f"{consumers_of(group)}{digest}"


def consumers_of(group: str) -> str:
    """What the names of all consumers of a group begin with, and of no other group's."""
    try:
        escaped = _escaped(group, _LETTERS)
    except UnicodeEncodeError:
        escaped = ""
    if not 0 < len(escaped) <= GROUP_MOST:
        raise InvalidError(
            f"the group {group[:100]!r} cannot be a consumer of NATS: its name must be text that is not empty and has "
            f"at most {GROUP_MOST} letters, where one that is not ASCII counts for up to 12"
        )
    return f"{escaped}~"


def _escaped(text: str, plain: frozenset[int]) -> str:
    return "".join(chr(byte) if byte in plain else f"={byte:02X}" for byte in text.encode())
