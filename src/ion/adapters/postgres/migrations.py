"""The schema of Ion's tables and how it grows.

Version N is what the first N entries of `MIGRATIONS` make. An entry that was released is never changed; a change of
tables or functions is a new entry. Any number of dispatchers may start together: an advisory lock lets one of them
migrate, in one transaction with the version, and the others find it done.
"""

from typing import Any

import psycopg
from psycopg import sql

from ion.adapters.postgres import (
    schema_admission,
    schema_claims,
    schema_documents,
    schema_flows,
    schema_history,
    schema_jobs,
    schema_keeping,
    schema_registry,
    schema_routes,
    schema_tables,
)
from ion.errors import UnsupportedError

_KEPT = "CREATE TABLE kept (name text PRIMARY KEY, value text NOT NULL);"

MIGRATIONS: tuple[str, ...] = (
    schema_tables.SCHEMA
    + schema_documents.SCHEMA
    + schema_admission.SCHEMA
    + schema_claims.SCHEMA
    + schema_jobs.SCHEMA
    + schema_flows.SCHEMA
    + schema_keeping.SCHEMA
    + schema_registry.SCHEMA,
    _KEPT,
    schema_history.SCHEMA,
    schema_routes.SCHEMA,
)
OLDEST = 130000
_LOCK = 0x10A0_0000_0000


async def migrate(
    connection: psycopg.AsyncConnection[tuple[Any, ...]],
    schema: str,
    place: str,
    migrations: tuple[str, ...] = MIGRATIONS,
) -> None:
    """Brings the schema to the present version; makes it where it is missing.

    Raises:
        UnsupportedError: the server is too old, the database is not in UTF-8, or the schema is of a newer Ion or of
            another program.
    """
    await _check_server(connection, place)
    if await _checked_version(connection, schema, place, migrations) == len(migrations):
        return
    async with connection.transaction():
        await connection.execute("SELECT set_config('statement_timeout', '0', true)")
        await connection.execute("SELECT pg_advisory_xact_lock(%s + hashtext(%s))", (_LOCK, schema))
        version = await _checked_version(connection, schema, place, migrations)  # another may have been faster
        if version == 0:
            await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            await connection.execute("CREATE TABLE ion_version (version integer NOT NULL)")
            await connection.execute("INSERT INTO ion_version (version) VALUES (0)")
        for script in migrations[version:]:
            await connection.execute(script.encode(), prepare=False)
        await connection.execute("UPDATE ion_version SET version = %s", (len(migrations),))


async def _check_server(connection: psycopg.AsyncConnection[tuple[Any, ...]], place: str) -> None:
    if connection.info.server_version < OLDEST:
        raise UnsupportedError(f"{place} is older than PostgreSQL {OLDEST // 10000}; upgrade the server")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnsupportedError(f"{place} is a database in {encoding}; make one with `createdb --encoding=UTF8`")


async def _checked_version(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], schema: str, place: str, migrations: tuple[str, ...]
) -> int:
    found = await connection.execute(
        "SELECT to_regclass(%s), EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace(%s)::oid)",
        (f"{schema}.ion_version", schema),
    )
    row = await found.fetchone()
    table, anything = row or (None, False)
    if table is None:
        if anything:
            raise UnsupportedError(f"{place} belongs to another program; name another schema")
        return 0
    found = await connection.execute("SELECT version FROM ion_version")
    (version,) = await found.fetchone() or (0,)
    if version > len(migrations):
        raise UnsupportedError(
            f"{place} has version {version} and this Ion knows up to {len(migrations)}; "
            "upgrade Ion, or name another schema"
        )
    return int(version)
