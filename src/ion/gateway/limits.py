"""How far the front API lets strangers in. Everything that arrives is bounded: bytes, files, time, jobs.

Without tokens anyone who reaches the port may raise events, so it is bound to this machine only. Even there a web page
in a browser could reach it; requests that a foreign page made are told by their `Origin` and refused (see guard.py).
"""

import ipaddress

import msgspec

from ion.errors import InvalidError

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  chosen only with tokens, or by `open: true`


class FrontSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`front:` of the pipeline file.

    `tokens`: any of them, as a Bearer token, lets a request in. `open`: no token is asked for, on every interface.
    `host`: the address to bind; empty chooses by the two. `max_body` bounds a request, `max_json` a JSON document or
    all the form fields of a request, both in bytes; `max_files` the files of one event. `stall_s` is how many seconds a
    client may send nothing in the middle of a request. With `backlog_most` open jobs in the ledger, new events are held
    back (429).
    """

    tokens: tuple[str, ...] = ()
    open: bool = False
    host: str = ""
    port: int = 9001
    max_body: int = 1024**3
    max_json: int = 1024**2
    max_files: int = 10_000
    stall_s: float = 60.0
    backlog_most: int = 100_000

    def __repr__(self) -> str:
        """Without the tokens."""
        return f"FrontSettings(host={self.host!r}, port={self.port}, open={self.open}, tokens=<{len(self.tokens)}>)"


def bind_host(settings: FrontSettings) -> str:
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


def is_loopback(host: str) -> bool:
    """Whether an address or name stands for this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
