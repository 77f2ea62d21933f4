"""Certificate, key and CA of the server, read again whenever a client comes.

A handshake costs milliseconds and reading three small files some microseconds, so they are simply read each time: a
renewed certificate or a further CA holds from the next connection on, without a signal and without a watcher. What
cannot be used (a file half written, a key that is not the certificate's) leaves the last good material in force.
Connections that are open go on; whether their certificates still hold is looked at with every call, see `callers`.

TLS 1.2 is the least that gRPC's servers speak, and a client has to bring a certificate that the CA has signed.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ion.errors import InvalidError

if TYPE_CHECKING:
    import grpc

log = logging.getLogger(__name__)


class Files(NamedTuple):
    """Where the PEM files are. The CA's file may hold several certificates: each of them is trusted."""

    certificate: Path
    key: Path
    ca: Path


class Content(NamedTuple):
    """What they hold."""

    certificate: bytes
    key: bytes
    ca: bytes


class Material:
    """The server's side of mutual TLS. Raises InvalidError at the start if the files cannot be used."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._content = _usable(files)
        self._warned = ""

    def credentials(self) -> "grpc.ServerCredentials":
        """For `add_secure_port`; gRPC asks at every handshake whether there is anything new."""
        import grpc

        return grpc.dynamic_ssl_server_credentials(_configuration(self._content), self._fresh, True)

    def _fresh(self) -> Any:
        """A configuration if there is a new one. gRPC calls it from a thread of its own; to raise anything would refuse
        the client.
        """
        try:
            content = _usable(self._files)
        except InvalidError as error:
            self._warn(str(error))
            return None
        self._warned = ""
        if content == self._content:
            return None
        self._content = content
        log.info("the management API uses the certificate of %s as it is now", self._files.certificate)
        return _configuration(content)

    def _warn(self, reason: str) -> None:
        """Once until the files are good again: clients may come often."""
        if not self._warned:
            log.warning("%s; the last good ones stay in use", reason)
        self._warned = reason


def _configuration(content: Content) -> "grpc.ServerCertificateConfiguration":
    import grpc

    return grpc.ssl_server_certificate_configuration([(content.key, content.certificate)], content.ca)


def _usable(files: Files) -> Content:
    """What the files hold. Raises InvalidError: one cannot be read, or they do not belong together."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = Content(*(_read(path) for path in files))
    try:
        own = x509.load_pem_x509_certificates(content.certificate)[0]
    except ValueError as error:
        raise InvalidError(f"{files.certificate} holds no certificate in PEM: write it again") from error
    try:
        key = load_pem_private_key(content.key, None)
    except (ValueError, TypeError) as error:
        raise InvalidError(f"{files.key} holds no key in PEM without a password: write it again") from error
    try:
        x509.load_pem_x509_certificates(content.ca)
    except ValueError as error:
        raise InvalidError(f"{files.ca} holds no certificate in PEM: write it again") from error
    if own.public_key() != key.public_key():
        raise InvalidError(f"{files.key} is not the key of {files.certificate}: give those that belong together")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from error
