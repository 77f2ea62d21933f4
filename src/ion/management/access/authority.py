"""A certificate authority for a small installation: a folder, and nothing that runs.

    ca.pem, ca.key            the authority itself
    server.pem, server.key    of the management API
    clients/NAME.pem, .key    what is handed to a person or a program
    issued/SERIAL.pem         every certificate ever given out, so that an older one of a name can still be revoked
    revoked.pem               the revocation list, which the server reads

The folder is closed to others (0700), keys are readable by their owner alone (0600). Every file is written whole or not
at all, and none is overwritten unless that is asked for. Keys are elliptic (P-256): every TLS 1.2 client knows them.
"""

import fcntl
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ion.errors import ConflictError, ExistsError, InvalidError, NotFoundError, UnsupportedError
from ion.management.access.certificate import Certificate, certificate
from ion.management.access.material import Files
from ion.management.access.revoked import read_revoked
from ion.model.role import Role

if TYPE_CHECKING:
    from cryptography import x509

    from ion.management.access.issuing import Own

CA_DAYS = 3650
SERVER_DAYS = 825
CLIENT_DAYS = 365
DAYS_MOST = 3650
CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Issued(NamedTuple):
    """A certificate that was given out."""

    certificate: Certificate
    revoked: bool

    def standing(self, now: datetime) -> str:
        """In one word."""
        if self.revoked:
            return "revoked"
        return "valid" if now <= self.certificate.until else "expired"


class Authority:
    """The authority in a folder; see the module's text. Nothing is read or written before a verb is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.revoked = folder / "ca.pem", folder / "revoked.pem"

    @property
    def server(self) -> Files:
        """What `ion management start` is given."""
        return Files(self.folder / "server.pem", self.folder / "server.key", self.ca)

    def files_of(self, name: str) -> Files:
        """What a client is given."""
        return Files(self.folder / "clients" / f"{name}.pem", self.folder / "clients" / f"{name}.key", self.ca)

    def init(self, hosts: Sequence[str], *, days: int = SERVER_DAYS, replace: bool = False) -> None:
        """Makes the authority and the server's certificate for these names and addresses.

        With `replace`, an authority that is there stays, and the server gets another certificate.

        Raises:
            ExistsError: there is one already, and `replace` is not set.
        """
        from ion.management.access import issuing

        _check_days(days)
        if self.ca.exists() and not replace:
            raise ExistsError(
                f"{self.folder} holds an authority already: `--replace` gives its server another certificate"
            )
        self._make_folders()
        with self._locked():
            if not self.ca.exists():
                own = issuing.new_authority(CA_DAYS)
                _write(self.folder / "ca.key", issuing.key_pem(own.key), replace=False)
                _write(self.revoked, issuing.revocation_list(own, (), 1), replace=False)
                _write(self.ca, issuing.pem(own.certificate), replace=False)
            made = issuing.server(self._own(), hosts, days)
            self._keep(made, self.server, replace=replace)

    def client(
        self, name: str, role: Role, pipelines: Sequence[str], *, days: int = CLIENT_DAYS, replace: bool = False
    ) -> Certificate:
        """A certificate for a person or a program, which carries its role.

        Raises:
            ExistsError: the name has one, and `replace` is not set; the old one is valid until it is revoked.
            InvalidError: the name, a pipeline or the days cannot be used.
        """
        from ion.management.access import issuing

        _check_days(days)
        if not CLIENT_NAME.fullmatch(name):
            raise InvalidError(f"'{name}' cannot name a client: use letters, digits and . _ @ - (64 at most)")
        files = self.files_of(name)
        with self._locked():
            own = self._own()
            if files.certificate.exists() and not replace:
                raise ExistsError(f"{name} has a certificate already ({files.certificate}): `--replace` gives another")
            made = issuing.client(own, name, role, pipelines, days)
            self._keep(made, files, replace=replace)
        return certificate(made.certificate)

    def issued(self) -> tuple[Issued, ...]:
        """Every certificate that was given out, by name and expiry."""
        revoked = read_revoked(self._here(self.revoked))
        found = [certificate(each) for each in self._certificates()]
        found.sort(key=lambda one: (one.values("CN"), one.until))
        return tuple(Issued(one, (one.issuer, one.serial) in revoked) for one in found)

    def revoke(self, which: str) -> tuple[Certificate, ...]:
        """Takes back the certificates of that name, or the one with that serial (hexadecimal).

        Raises:
            NotFoundError: there is none. ConflictError: all of them are revoked already.
        """
        from ion.management.access import issuing

        with self._locked():
            own, issued = self._own(), self.issued()
            meant = [one for one in issued if which in (*one.certificate.values("CN"), f"{one.certificate.serial:x}")]
            if not meant:
                raise NotFoundError(f"no certificate was given to '{which}': `ion certs list` shows those there are")
            fresh = [one.certificate for one in meant if not one.revoked]
            if not fresh:
                raise ConflictError(f"the certificates of '{which}' are revoked already")
            made = issuing.with_revoked(own, self.revoked.read_bytes(), [one.serial for one in fresh])
            _write(self.revoked, made, replace=True)
        return tuple(fresh)

    # ---- files ------------------------------------------------------------------------------------------------

    def _own(self) -> "Own":
        from ion.management.access import issuing

        return issuing.opened(self._here(self.ca).read_bytes(), self._here(self.folder / "ca.key").read_bytes())

    def _here(self, file: Path) -> Path:
        if not file.is_file():
            raise NotFoundError(
                f"{self.folder} holds no authority ({file.name} is missing): make one by `ion certs init`"
            )
        return file

    def _certificates(self) -> "Iterator[x509.Certificate]":
        from cryptography import x509

        for file in (self.folder / "issued").glob("*.pem"):
            yield x509.load_pem_x509_certificate(file.read_bytes())

    def _keep(self, made: "Own", files: Files, *, replace: bool) -> None:
        """The key comes before the certificate: a server that looks in between keeps what it has."""
        from ion.management.access import issuing

        content = issuing.pem(made.certificate)
        _write(self.folder / "issued" / f"{made.certificate.serial_number:x}.pem", content, replace=False)
        _write(files.key, issuing.key_pem(made.key), replace=replace)
        _write(files.certificate, content, replace=replace)

    def _make_folders(self) -> None:
        try:
            for folder in (self.folder, self.folder / "clients", self.folder / "issued"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
        except OSError as error:
            raise UnsupportedError(f"the folder {self.folder} cannot be made: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One change at a time: a revocation list is read and written."""
        try:
            held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise NotFoundError(f"there is no authority at {self.folder}: make one by `ion certs init`") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)


def _check_days(days: int) -> None:
    if not 1 <= days <= DAYS_MOST:
        raise InvalidError(f"a certificate is valid for 1 to {DAYS_MOST} days, not {days}")


def _write(file: Path, content: bytes, *, replace: bool) -> None:
    """Whole or not at all, and closed to others from the first byte."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fsync(stream.fileno())
        if replace:
            draft.replace(file)
        else:
            file.hardlink_to(draft)  # unlike a rename, it overwrites nothing
    except FileExistsError as error:
        raise ExistsError(f"{file} is there already: move it away, or ask for it to be replaced") from error
    finally:
        draft.unlink(missing_ok=True)
