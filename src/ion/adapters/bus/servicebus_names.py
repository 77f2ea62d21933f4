"""What topics and subscriptions are called: as in the original, a topic like its event, a subscription `event_module`.

Azure does not tell capital letters from small ones, and knows few other signs. A name that does not fit is cut and gets
the hash of the whole behind it, so that two never share one; what only looks like such a name is treated the same way.
"""

import hashlib
import re

from ion.errors import InvalidError
from ion.messaging.codec import TYPE_MOST, valid_type

TOPIC_MOST = 260
SUBSCRIPTION_MOST = 50

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_HASHED = re.compile(r".*--[0-9a-f]{20}")
_FOREIGN = re.compile(r"[^a-z0-9._-]+")
_HASH = 20


def topic_name(prefix: str, event_type: str) -> str:
    """Raises InvalidError for what is no event type."""
    if not valid_type(event_type):
        raise InvalidError(
            f"the event type {event_type[:100]!r} cannot be a topic: use 1 to {TYPE_MOST} printable characters and no "
            "blanks"
        )
    room = TOPIC_MOST - len(prefix)
    return prefix + (event_type if _fits(event_type, room) else _hashed(event_type, event_type.lower(), room))


def subscription_name(event_type: str, group: str) -> str:
    """Of a group on the topic of an event type; the end is kept, for the topic tells the event already."""
    if not group:
        raise InvalidError("a group needs a name")
    whole = f"{event_type}_{group}"
    if _fits(whole, SUBSCRIPTION_MOST):
        return whole
    end = _FOREIGN.sub("-", whole.lower())[-(SUBSCRIPTION_MOST - _HASH - 2) :]
    return _hashed(whole, end, SUBSCRIPTION_MOST)


def _fits(name: str, most: int) -> bool:
    return len(name) <= most and bool(_PLAIN.fullmatch(name)) and not _HASHED.fullmatch(name)


def _hashed(whole: str, readable: str, most: int) -> str:
    cut = _FOREIGN.sub("-", readable)[: most - _HASH - 2].strip("._-") or "x"
    return f"{cut}--{hashlib.sha256(whole.encode()).hexdigest()[:_HASH]}"
