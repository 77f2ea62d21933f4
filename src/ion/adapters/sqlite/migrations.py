"""The schema of a database and how it grows.

Version N is what the first N entries of `MIGRATIONS` make. An entry that was released is never changed; a change of the
schema is a new entry. The version is kept in `PRAGMA user_version`, inside the same transaction as the change, so any
number of processes may open a database at once and one killed half-way leaves the version it found.
"""

import sqlite3
from collections.abc import Iterator

from ion.adapters.sqlite import (
    schema_bus_documents,
    schema_history,
    schema_keeping,
    schema_lean,
    schema_ledger,
    schema_routes,
)
from ion.errors import UnsupportedError

MIGRATIONS: tuple[str, ...] = (
    schema_ledger.SCHEMA + schema_bus_documents.SCHEMA,
    schema_ledger.HELD,
    schema_keeping.SCHEMA,
    schema_lean.SCHEMA,
    schema_history.SCHEMA,
    schema_routes.SCHEMA,
)


def migrate(connection: sqlite3.Connection, store: str, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Brings a database to the present version.

    Raises:
        UnsupportedError: it was written by a newer Ion, or by another program.
    """
    if _checked_version(connection, store, migrations) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _checked_version(connection, store, migrations)  # another process may have been faster
        for script in migrations[version:]:
            for statement in statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one, since `executescript` would commit the transaction around it."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def _checked_version(connection: sqlite3.Connection, store: str, migrations: tuple[str, ...]) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise UnsupportedError(
            f"the database {store} has version {version} and this Ion knows up to {len(migrations)}; "
            "upgrade Ion, or name another store with `--store`"
        )
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise UnsupportedError(f"the database {store} belongs to another program; name another store with `--store`")
    return int(version)
