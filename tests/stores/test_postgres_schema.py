"""How the schema comes to be, and what is refused: migrations, and the settings that lead to it."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.migrations import MIGRATIONS, migrate
from ion.adapters.postgres.pool import connected
from ion.adapters.postgres.settings import PostgresSettings
from ion.errors import InvalidError, UnavailableError, UnsupportedError
from ion.testing.conformance.ledger_stage import waiting_job


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def test_dispatchers_that_start_together_make_one_schema(server: PostgresServer) -> None:
    """Eight that open a new schema at once all get on, and find each other's jobs."""
    settings = server.settings()
    gate = asyncio.Barrier(8)

    async def start() -> None:
        async with Postgres(settings) as database:
            await gate.wait()
            await PostgresLedger(database).admit([waiting_job(flow="f")])
            await gate.wait()
            assert (await PostgresLedger(database).open("f")).waiting == 8

    await asyncio.gather(*(start() for _ in range(8)))
    assert server.execute(f"SELECT version FROM {settings.schema}.ion_version") == [(len(MIGRATIONS),)]


async def test_each_migration_runs_once(server: PostgresServer) -> None:
    """Those who open an older schema together bring it up to date one after the other, and lose nothing in it."""
    settings = server.settings()
    async with Postgres(settings) as database:
        (job,) = [waiting_job(flow="f")]
        await PostgresLedger(database).admit([job])
    later = (*MIGRATIONS, "CREATE TABLE once (id integer)", "INSERT INTO once VALUES (1)")

    async def upgrade() -> None:
        async with await connected(settings, 30.0) as connection:
            await migrate(connection, settings.schema, settings.place, later)

    await asyncio.gather(*(upgrade() for _ in range(5)))
    assert server.execute(f"SELECT * FROM {settings.schema}.once") == [(1,)]
    assert server.execute(f"SELECT id FROM {settings.schema}.jobs") == [(job.id,)]


async def test_a_migration_that_fails_changes_nothing(server: PostgresServer) -> None:
    """The version stays what it was, and so does the schema."""
    settings = server.settings()
    async with Postgres(settings):
        pass
    async with await connected(settings, 30.0) as connection:
        with pytest.raises(Exception, match="no_such_table"):
            await migrate(
                connection,
                settings.schema,
                settings.place,
                (*MIGRATIONS, "CREATE TABLE half (id integer)", "DROP TABLE no_such_table"),
            )
    assert server.execute(f"SELECT to_regclass('{settings.schema}.half')") == [(None,)]
    async with Postgres(settings) as database:
        assert await PostgresLedger(database).waiting() == {}


async def test_a_newer_schema_is_refused(server: PostgresServer) -> None:
    """An older Ion does not touch what a newer one wrote."""
    settings = server.settings()
    async with Postgres(settings):
        pass
    server.execute(f"UPDATE {settings.schema}.ion_version SET version = 99")
    with pytest.raises(UnsupportedError, match=r"has version 99 and this Ion knows up to \d+; upgrade Ion"):
        async with Postgres(settings):
            pass


async def test_the_schema_of_another_program_is_refused(server: PostgresServer) -> None:
    """Where tables are that are not Ion's, nothing is made beside them; an empty schema is taken."""
    settings = server.settings()
    server.execute(f"CREATE SCHEMA {settings.schema}")
    async with Postgres(settings):
        pass
    theirs = server.settings()
    server.execute(f"CREATE SCHEMA {theirs.schema}; CREATE TABLE {theirs.schema}.theirs (id integer)")
    with pytest.raises(UnsupportedError, match="belongs to another program; name another schema"):
        async with Postgres(theirs):
            pass


async def test_a_database_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    """Its encoding has to be UTF-8."""
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(UnsupportedError, match="is a database in LATIN1; make one with `createdb --encoding=UTF8`"):
        async with Postgres(server.settings(database="latin")):
            pass


async def test_a_user_without_the_right_is_told(server: PostgresServer) -> None:
    """Who may not make the schema is told to get the right."""
    server.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(InvalidError, match=r"give it the right .* to make and use the schema"):
        async with Postgres(server.settings(user="guest")):
            pass


async def test_an_unopened_database_says_so(server: PostgresServer) -> None:
    """A verb before opening, or after closing, is refused with a sentence."""
    database = Postgres(server.settings())
    with pytest.raises(UnavailableError, match="open it with `async with`"):
        await PostgresLedger(database).waiting()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": ""}, "host is empty"),
        ({"port": 0}, "port 0 is not a port"),
        ({"schema": "Ion; DROP"}, "cannot be one"),
        ({"schema": "pg_ion"}, "cannot be one"),
        ({"sslmode": "tls"}, "choose disable"),
        ({"ca": "/ca.pem"}, "verify-ca or verify-full"),
        ({"cert": "/me.pem"}, "write both or none"),
        ({"cert": "/me.pem", "key": "/me.key", "sslmode": "disable"}, "choose another sslmode"),
        ({"pool_size": 0}, "at least one connection"),
        ({"timeout_s": 0.0}, "between 0 and 60 s"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, object], said: str) -> None:
    """Each names the key and says what to write."""
    with pytest.raises(InvalidError, match=said):
        PostgresSettings(**fields)  # type: ignore[arg-type]
