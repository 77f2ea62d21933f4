"""Why a remote Ion cannot be reached, step by step: the name, the connection, TLS on both sides, the protocol.

gRPC gives one code for all of these; here each is tried by itself with the system's own means, and the first that fails
is named.
"""

import socket
import ssl
from pathlib import Path
from typing import Final

import msgspec

from ion.management.local.symptoms import fault
from ion.management.verbs.server import Symptom

PATIENCE_S: Final = 5.0
HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What an HTTP/2 client says first: the preface and empty settings; a server answers with settings of its own."""
SETTINGS: Final = 4
CLOSED: Final = b""
ABOUT: Final = "endpoint"
TLS_OPTIONS: Final = "--cacertfile, --certfile and --keyfile"

_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": f"wants a certificate of yours: give one by {TLS_OPTIONS} (`ion certs client` makes one)",
    "HANDSHAKE_FAILURE": f"wants a certificate of yours, or other ciphers: give one by {TLS_OPTIONS}",
    "UNKNOWN_CA": "does not know the CA of your certificate: use one that was made with the server's CA",
    "CERTIFICATE_EXPIRED": "says that your certificate has expired: make a new one (`ion certs client`)",
    "CERTIFICATE_REVOKED": "says that your certificate was revoked: ask for another (`ion certs client`)",
    "BAD_CERTIFICATE": "does not take your certificate: see that it is a client's, of the server's CA",
    "CERTIFICATE_UNKNOWN": "does not take your certificate: see that it is a client's, of the server's CA",
    "ACCESS_DENIED": "does not take your certificate: see that it is a client's, of the server's CA",
    "PROTOCOL_VERSION": "speaks no version of TLS that this host does: TLS 1.2 is the least",
    "WRONG_VERSION_NUMBER": f"does not speak TLS: leave {TLS_OPTIONS} out, or give the server a certificate",
}
"""By a part of OpenSSL's reason: what a server's answer to a handshake means."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How a remote Ion is reached: `HOST:PORT`, and the files of TLS, if any."""

    endpoint: str
    certfile: Path | None = None
    keyfile: Path | None = None
    cacertfile: Path | None = None

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def secure(self) -> bool:
        return any((self.certfile, self.keyfile, self.cacertfile))


def why_unreachable(line: Line, otherwise: str) -> Symptom:
    """The step that fails; where none does, `otherwise` is what was said."""
    try:
        with socket.create_connection(line.address, PATIENCE_S) as connection:
            said = _answer(_wrapped(connection, line), b"") if line.secure else _answer(connection, HELLO)
        return _judged(said, line, otherwise)
    except ssl.SSLCertVerificationError as error:
        return _told(line, f"shows a certificate that is not trusted: {_reason(error)}; --cacertfile names its CA")
    except ssl.SSLError as error:
        return _told(line, _alert(error))
    except OSError as error:
        return _no_connection(line, error)


def _wrapped(connection: socket.socket, line: Line) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=line.cacertfile)
    context.set_alpn_protocols(["h2"])
    if line.certfile and line.keyfile:
        context.load_cert_chain(line.certfile, line.keyfile)
    return context.wrap_socket(connection, server_hostname=line.address[0])


def _answer(connection: socket.socket, hello: bytes) -> bytes | None:
    """The first bytes of the other side; none at its end, None if it says nothing for a while.

    In TLS 1.3 a server tells only now that it does not take a certificate; what it has not read when it hangs up would
    keep its reason from coming, so nothing is said before.
    """
    with connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.sendall(hello)
            return connection.recv(16)
        except TimeoutError:
            return None
        except (ConnectionResetError, BrokenPipeError):
            return CLOSED


def _judged(said: bytes | None, line: Line, otherwise: str) -> Symptom:
    if said is None:
        return _told(line, "takes connections and says nothing: it hangs, or is no management API")
    if said[:2] == b"\x15\x03" or (said == CLOSED and not line.secure):
        return _told(line, f"hangs up on a plain connection, so it wants TLS: give {TLS_OPTIONS}")
    if said == CLOSED:
        return _told(line, _refused(line))
    if len(said) < 4 or said[3] != SETTINGS:  # the type of an HTTP/2 frame
        return _told(line, "is no management API: that listens on port 9000 as a rule, the front API on 9001")
    return fault(ABOUT, otherwise)


def _refused(line: Line) -> str:
    """Why a server may hang up after the handshake; gRPC's does so without a word."""
    if not line.certfile or not line.keyfile or not line.cacertfile:
        return f"hangs up after the handshake, so it wants a certificate of yours: give one by {TLS_OPTIONS}"
    if fault := own_fault(line.certfile, line.keyfile, line.cacertfile):
        return f"does not take your certificate, and {line.cacertfile} does not either: {fault}"
    return "does not take your certificate: it may be revoked, or not a client's; the server's log says why"


def own_fault(certfile: Path, keyfile: Path, cacertfile: Path) -> str:
    """What an authority finds wrong with a client's certificate, or nothing: a handshake in memory."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cacertfile)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    for context in (server, client):
        context.load_cert_chain(certfile, keyfile)
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):  # more flights than any handshake has
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return _reason(error)
    return ""


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    known = (sentence for part, sentence in _ALERTS.items() if part in reason)
    return next(known, f"cannot be spoken to by TLS ({reason.lower().replace('_', ' ')})")


def _reason(error: ssl.SSLCertVerificationError) -> str:
    """As `certificate has expired`, `unable to get local issuer certificate`, `Hostname mismatch, …`."""
    return error.verify_message.rstrip(".")


def _no_connection(line: Line, error: OSError) -> Symptom:
    host, port = line.address
    match error:
        case socket.gaierror():
            return fault(ABOUT, f"the name {host} is not known here: see --endpoint", f"getent hosts {host}")
        case ConnectionRefusedError():
            message = f"nobody listens on port {port} of {host}: start the management API there"
            return fault(ABOUT, message, "ion management start")
        case TimeoutError():
            return _told(line, "does not answer: see whether a firewall stands between, and whether the host is up")
        case FileNotFoundError() | PermissionError():
            return fault(ABOUT, f"a file of TLS cannot be read ({error.strerror}): see {TLS_OPTIONS}")
        case _:
            return _told(line, f"cannot be reached: {error.strerror or error}")


def _told(line: Line, what: str) -> Symptom:
    return fault(ABOUT, f"{line.endpoint} {what}")
