"""SQLite's errors in Ion's words, in one place.

`sqlite3` sorts its exceptions by API area, not by what a person can do about them; the result code says that. The low
byte of an extended code is the primary one, and only primaries are told apart here.
"""

import sqlite3
from types import TracebackType

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


class translated:  # noqa: N801 - used like the functions of contextlib, at a fraction of their cost
    """Raises what SQLite cannot do to `store` as `UnavailableError`; mistakes in SQL pass as they are."""

    def __init__(self, store: str) -> None:
        self._store = store

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        code = primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"the database {self._store} is locked by another process; try again") from error
        if code in _ADVICE:
            raise UnavailableError(f"the database {self._store} {_ADVICE[code]} ({error})") from error


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error that `sqlite3` raised itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
