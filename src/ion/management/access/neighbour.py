"""Which user of this host is at the other end of a connection over loopback.

A port on loopback is open to every user of the host, and who may apply a module runs programs as Ion's own user. So
without TLS the kernel is asked whose the client's end is: one question by netlink (sock_diag(7)), some ten
microseconds. Only an established connection counts: of one that its client has closed the kernel no longer knows.
"""

import os
import pwd
import socket
import struct

from ion.errors import DeniedError, UnsupportedError

_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ERROR = 4, 20, 1, 2
_HEADER, _TCP, _ANY, _ESTABLISHED = struct.Struct("=IHHII"), socket.IPPROTO_TCP, 0xFFFFFFFF, 1
_UID_AT = _HEADER.size + 4 + 48 + 12
"""Where a reply has the user: behind what it is, the two ends, and three counters."""
_WAIT_S = 1.0

Address = tuple[str, int]


def check_neighbour(client: Address, server: Address) -> str:
    """The name of the user at the client's end: ours, or root.

    Raises:
        DeniedError: it is another user's, or no longer there.
    """
    uid = user_of(client, server)
    if uid not in (os.geteuid(), 0):
        raise DeniedError(
            "without TLS this Ion answers only the user that it runs as: give it certificates, `ion certs init` makes "
            "them"
        )
    return _name(uid)


def user_of(client: Address, server: Address) -> int | None:
    """Whose the client's end of an established connection is; None if there is none.

    Raises:
        UnsupportedError: the kernel does not say.
    """
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    ends = struct.pack("!HH", client[1], server[1]) + _packed(family, client) + _packed(family, server)
    asked = struct.pack("=BBBBI", family, _TCP, 0, 0, _ANY) + ends + struct.pack("=III", 0, _ANY, _ANY)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
            kernel.settimeout(_WAIT_S)
            kernel.send(_HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST, 1, 0) + asked)
            told = kernel.recv(4096)
    except OSError as error:
        raise UnsupportedError(f"this host does not say whose a connection is: {error.strerror}") from error
    if _HEADER.unpack_from(told)[1] == _ERROR or told[_HEADER.size + 1] != _ESTABLISHED:
        return None
    uid: int = struct.unpack_from("=I", told, _UID_AT)[0]
    return uid


def _packed(family: socket.AddressFamily, address: Address) -> bytes:
    return socket.inet_pton(family, address[0]).ljust(16, b"\0")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
