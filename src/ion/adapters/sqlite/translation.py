"""SQLite's errors in Ion's words, in one place.

`sqlite3` sorts its exceptions by API area, not by what a person can do about them; the result code says that. The low
byte of an extended code is the primary one, and only primaries are told apart here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ion.errors import UnavailableError

_ADVICE = {
    sqlite3.SQLITE_FULL: "has no room left on its disk; free some space, then try again",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user write permission on the file and its folder",
    sqlite3.SQLITE_PERM: "may not be opened; give this user permission on the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and that this user may write to it",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; move that file away or name another store",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup or recover it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_IOERR: "met an input/output error; check its disk and the system's log",
}


class BusyError(UnavailableError):
    """Another process is writing; trying again soon is likely to work."""


@contextmanager
def translated(store: str) -> Iterator[None]:
    """Raises what SQLite cannot do to `store` as `UnavailableError`; mistakes in SQL pass as they are."""
    try:
        yield
    except sqlite3.Error as error:
        code = primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"the database {store} is locked by another process; try again") from error
        if code not in _ADVICE:
            raise
        raise UnavailableError(f"the database {store} {_ADVICE[code]} ({error})") from error


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error that `sqlite3` raised itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
