"""How far the front API lets strangers in. Everything that arrives is bounded: bytes, files, time, jobs.

Without tokens anyone who reaches the port may raise events, so it is bound to this machine only. Even there a web page
in a browser could reach it; requests that a foreign page made are told by their `Origin` and refused (see guard.py).
"""

from ion.config.addresses import EVERYWHERE, LOOPBACK, is_loopback
from ion.config.settings import Front
from ion.errors import InvalidError


def bind_host(settings: Front) -> str:
    """The address to bind.

    Raises:
        InvalidError: a token is empty, or the address is reachable from outside without a token being asked for.
    """
    if any(not token.strip() or not token.isascii() for token in settings.tokens):
        raise InvalidError("a token of the front API is empty or not ASCII: give each at least one ASCII character")
    guarded = bool(settings.tokens) or settings.open
    host = settings.host or (EVERYWHERE if guarded else LOOPBACK)
    if not guarded and not is_loopback(host):
        raise InvalidError(
            f"the front API would be open to anyone on {host}: set `front: {{tokens: [...]}}`, or "
            "`front: {open: true}` if that is meant"
        )
    return host
