"""PostgreSQL's errors in Ion's words, in one place.

`psycopg` sorts its exceptions by the standard's classes, which do not tell what a person can do; the SQLSTATE does.
What may come back is an `UnavailableError`; what another transaction stood in the way of is a `BusyError`, for the
caller to try again. What somebody has to mend, here or there, is a `RefusedError`: who opens the database is told that
it was wrongly set up, who works on it waits, since a password may be changed on the server before it is changed here.
Mistakes in SQL pass as they are.
"""

import re
from types import TracebackType

import psycopg
from psycopg import errors

from ion.errors import InvalidError, UnavailableError

_REFUSES: dict[str, str] = {
    "28P01": "refuses this user's password; set the right one, for a user that may log in",
    "28000": "refuses this user; check user and sslmode here, and pg_hba.conf and the user's rights there",
    "3D000": "does not have that database; make it, or name another",
    "42501": "refuses this user that; give it the right to use the database, and to make and use the schema",
    # No codes of the server's.
    "closed": "takes no connections to that database; allow them there, or name another",
    "authority": "shows a certificate that is not trusted, or has expired; set ca to its authority, or renew it there",
    "name": "shows a certificate for another name; set host to that name, or have one made for this one",
    "plain": "does not encrypt the line; turn its TLS on, or choose another sslmode",
    "client": "wants another certificate of this client; set cert and key to one of an authority that it trusts",
    "files": "cannot be asked, since a certificate's file is not right; check ca, cert and key",
}
_ADVICE: dict[str, str] = {
    "3F000": "has lost that schema; restore it, or restart Ion to make it anew",
    "42P01": "has lost a table of Ion's; restore it from a backup",
    "25006": "is a standby that takes no writes; name the primary",
    "53100": "has no room left on its disk; free some space there",
    "53200": "is out of memory; look at its log",
    "53300": "has no connection left; raise its max_connections, or lower pool_size",
    "55P03": "was locked for too long by another session; look for a long transaction there",
    "57014": "took too long for a statement, or somebody ended it; look for what keeps it busy",
    "57P01": "is being shut down; it is tried again",
    "57P02": "has crashed and restarts; it is tried again",
    "57P03": "is starting or stopping; it is tried again",
    "unknown": "is not found by its name; check host, and the name service",
}
_WORDS: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("connection requires a valid client certificate", "client"),
    ("certificate authentication failed", "client"),
    ("alert unknown ca", "client"),
    ("alert certificate", "client"),
    ("pg_hba.conf", "28000"),
    ("is not permitted to log in", "28000"),
    ('role "', "28000"),
    ("permission denied for database", "42501"),
    ("not currently accepting connections", "closed"),
    ("does not match host name", "name"),
    ("certificate verify failed", "authority"),
    ("server does not support SSL", "plain"),
    ("certificate", "files"),
    ("private key file", "files"),
    ("failed to resolve host", "unknown"),
    ("starting up", "57P03"),
    ("not yet accepting connections", "57P03"),
    ("shutting down", "57P03"),
    ("recovery mode", "57P03"),
)
"""A connection that cannot be made comes without its SQLSTATE; the words tell, the first that are found."""
_FULL = ("too many clients", "too many connections", "remaining connection slots")
_WHERE = re.compile(
    r'(connection failed: )?connection to server (at|on) "[^"]*"( \([^)]*\))?(, port \d+)? failed: (FATAL: )?'
)
_BUSY = (errors.SerializationFailure, errors.DeadlockDetected)


class RefusedError(UnavailableError):
    """The server will not do this until something is set right, here or there."""


class BusyError(UnavailableError):
    """Two transactions stood in each other's way and this one was undone; trying it again at once is right."""


class translated:  # noqa: N801 - used like the functions of contextlib, at a fraction of their cost
    """Raises what the server at `place` cannot do as one of Ion's errors."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, psycopg.Error):
            self._raise(error)
        if isinstance(error, UnicodeEncodeError):
            raise InvalidError(f"a text cannot be stored in PostgreSQL, since it is not Unicode: {error}") from error

    def _raise(self, error: psycopg.Error) -> None:
        if isinstance(error, _BUSY):
            raise BusyError(f"{self._place} was kept busy by other transactions; try again") from error
        code = error.sqlstate or _code_in(error)
        if code in _REFUSES:
            raise RefusedError(f"{self._place} {_REFUSES[code]} ({said(error)})") from error
        if code in _ADVICE:
            raise UnavailableError(f"{self._place} {_ADVICE[code]} ({said(error)})") from error
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            raise UnavailableError(f"{self._place} does not answer; see that it runs ({said(error)})") from error
        if error.sqlstate == "22P05" or (isinstance(error, psycopg.DataError) and error.sqlstate is None):
            raise InvalidError("a name or an id has a NUL character in it, which PostgreSQL cannot store") from error


def said(error: psycopg.Error) -> str:
    """What the server or the client said, on one line: without where that is, and without the statement."""
    return _WHERE.sub("", " ".join((error.diag.message_primary or str(error)).split())) or type(error).__name__


def _code_in(error: psycopg.Error) -> str:
    if not isinstance(error, psycopg.OperationalError):
        return ""
    text = str(error)
    if any(words in text for words in _FULL):
        return "53300"
    if 'database "' in text and "does not exist" in text:
        return "3D000"
    return next((code for words, code in _WORDS if words in text), "")
