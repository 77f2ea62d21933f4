"""The certificates that were taken back: a file of revocation lists (PEM), read again when it has changed.

TLS itself looks at no such list here. It is looked at with every call, so a revoked certificate is of no more use to a
connection that was made with it before.
"""

import logging
import os
from pathlib import Path

from ion.errors import InvalidError

log = logging.getLogger(__name__)

_END = b"-----END X509 CRL-----"


class Revoked:
    """Which certificates are revoked, by issuer and serial. Raises InvalidError at the start if it cannot be used.

    A file that cannot be used later leaves the last good list in force. One that is not `needed` may come later: until
    then nothing is revoked.
    """

    def __init__(self, file: Path | None, *, needed: bool = True) -> None:
        self._file = file
        self._stamp = _stamp(file) if file else None
        self._entries = read_revoked(file) if file and (needed or self._stamp) else frozenset()

    def holds(self, issuer: bytes, serial: int) -> bool:
        """Whether the certificate with that serial of that issuer (DER) is revoked, as the file is now."""
        if self._file is not None and (stamp := _stamp(self._file)) != self._stamp:
            self._stamp = stamp
            self._read(self._file)
        return (issuer, serial) in self._entries

    def _read(self, file: Path) -> None:
        try:
            self._entries = read_revoked(file)
        except InvalidError as error:
            log.warning("%s; the last good list stays in force", error)


def read_revoked(file: Path) -> frozenset[tuple[bytes, int]]:
    """Issuer (DER) and serial of each revoked certificate. Raises InvalidError: the file cannot be used."""
    from cryptography import x509

    try:
        texts = [part + _END for part in file.read_bytes().split(_END)[:-1]]
        lists = [x509.load_pem_x509_crl(text) for text in texts]
    except OSError as error:
        raise InvalidError(f"the revocation list {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidError(f"the revocation list {file} is not in PEM: write it again") from error
    if not lists:
        raise InvalidError(f"the revocation list {file} holds no list in PEM: write it again")
    return frozenset((each.issuer.public_bytes(), entry.serial_number) for each in lists for entry in each)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with the file; None while there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116  with every call, and a third of the price
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
