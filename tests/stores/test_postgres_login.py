"""PostgreSQL with TLS and log-in: what is trusted works, and whatever is not is told in one sentence."""

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.stores.certificates import Certificates
from tests.stores.postgres_server import PostgresServer

from ion.adapters.ledger.postgres import PostgresLedger
from ion.adapters.postgres.database import Postgres
from ion.adapters.postgres.settings import PostgresSettings
from ion.config.load import load_pipeline
from ion.errors import InvalidError, UnavailableError
from ion.ports.documents import RecordFilter
from ion.testing.conformance.documents import record
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job
from ion.wiring import open_store

PATIENCE_S = 60.0
PASSWORD = "correct-horse"
WRONG = "battery-staple"
_RULES = """
host    all ion,ghost 127.0.0.1/32 trust
hostssl all keeper   127.0.0.1/32 cert
hostssl all owner,limited,poor,locked,nobody 127.0.0.1/32 scram-sha-256
host    all turned   127.0.0.1/32 reject
"""
_CONFIGURATION = """
ssl = on
ssl_cert_file = '{folder}/localhost.pem'
ssl_key_file = '{folder}/localhost.key'
ssl_ca_file = '{folder}/ca.pem'
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    for name in ("localhost", "keeper", "thief"):
        made.make(name)
    made.make("foreign", by="stranger", subject="/CN=keeper")
    return made


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        for role in ("owner", "limited", "poor", "turned", "keeper"):
            server.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        server.execute(f"CREATE ROLE locked NOLOGIN PASSWORD '{PASSWORD}'")
        server.execute("ALTER ROLE limited CONNECTION LIMIT 0")
        server.execute("GRANT CREATE ON DATABASE postgres TO owner, keeper")
        server.execute("CREATE DATABASE private")
        server.execute("REVOKE CONNECT ON DATABASE private FROM PUBLIC")
        server.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        secure(server, certificates)
        yield server
    finally:
        server.close()


def secure(server: PostgresServer, certificates: Certificates) -> None:
    """Starts the server again, with TLS and the rules above."""
    data = server.folder / "data"
    owner = data.stat()
    for name in ("localhost.pem", "localhost.key", "ca.pem"):
        shutil.copy(certificates.folder / name, server.folder)
        shutil.chown(server.folder / name, owner.st_uid, owner.st_gid)
    (server.folder / "localhost.key").chmod(0o600)
    with (data / "postgresql.conf").open("a") as file:
        file.write(_CONFIGURATION.format(folder=server.folder))
    (data / "pg_hba.conf").write_text(_RULES)
    server.crash()
    server.start()


def asked(server: PostgresServer, certificates: Certificates, fields: Mapping[str, str]) -> PostgresSettings:
    """Those of `owner` over a line that is checked, with changes; `.pem` and `.key` are files of the test's."""
    usual = {"host": "localhost", "user": "owner", "password": PASSWORD, "sslmode": "verify-full", "ca": "ca.pem"}
    here = {
        name: str(certificates.folder / value) if value.endswith((".pem", ".key")) else value
        for name, value in {**usual, **fields}.items()
    }
    return server.settings(**here)


async def works(settings: PostgresSettings) -> None:
    async with Postgres(settings) as database:
        ledger = PostgresLedger(database)
        await ledger.admit([waiting_job(flow="f")])
        (job,) = await ledger.claim(claim())
        assert await ledger.commit(job.id, 1, manifest())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sslmode": "verify-ca", "host": "127.0.0.1"},
        {"sslmode": "require", "ca": ""},
        {"user": "keeper", "password": "", "cert": "keeper.pem", "key": "keeper.key"},
    ],
    ids=["verify-full", "verify-ca", "require", "a client's certificate"],
)
async def test_a_line_with_tls_is_used(
    server: PostgresServer, certificates: Certificates, fields: Mapping[str, str]
) -> None:
    """With the right authority, name and password everything works, and every connection is encrypted."""
    settings = asked(server, certificates, fields)
    await works(settings)
    async with Postgres(settings) as database:
        await database.run("SELECT 1")
        found = server.execute(
            f"SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{settings.user}'"
        )
        assert found
        assert {encrypted for (encrypted,) in found} == {True}


REFUSED = {
    "an authority that did not sign": ({"ca": "stranger.pem"}, "is not trusted, or has expired; set ca"),
    "the system's authorities": ({"ca": ""}, "is not trusted, or has expired; set ca"),
    "no such file": ({"ca": "missing.pem"}, r"check ca, cert and key .*missing\.pem"),
    "a file that is no certificate": ({"ca": "ca.key"}, "check ca, cert and key"),
    "a name that is not its own": ({"host": "127.0.0.1"}, "shows a certificate for another name; set host"),
    "a wrong password": ({"password": WRONG}, "refuses this user's password; set the right one"),
    "no password": ({"password": ""}, "refuses this user's password; set the right one"),
    "an unknown role": ({"user": "nobody"}, "refuses this user's password; .* user that may log in"),
    "a role that may not log in": ({"user": "locked"}, r"refuses this user; check .* \(role \"locked\" is not"),
    "an unknown role that needs no password": ({"user": "ghost"}, r"refuses this user; check .* \(role \"ghost\""),
    "no database": ({"database": "none"}, "does not have that database; make it, or name another"),
    "a database for others": ({"database": "private"}, "give it the right to use the database"),
    "a database for nobody": ({"database": "closed"}, "takes no connections to that database"),
    "no right to make a schema": ({"user": "poor"}, "give it the right to use the database, and to make"),
    "no entry in pg_hba.conf": ({"user": "unheard"}, r"refuses this user; check .*pg_hba\.conf"),
    "an entry that rejects": ({"user": "turned"}, r"refuses this user; check .*pg_hba\.conf"),
    "no encryption": ({"sslmode": "disable", "ca": ""}, "check user and sslmode here, .* no encryption"),
    "no certificate": ({"user": "keeper"}, "wants another certificate of this client; set cert and key"),
    "another's certificate": (
        {"user": "keeper", "cert": "thief.pem", "key": "thief.key"},
        "wants another certificate of this client; set cert and key",
    ),
    "a certificate of a stranger's": (
        {"user": "keeper", "cert": "foreign.pem", "key": "foreign.key"},
        "wants another certificate of this client; set cert and key",
    ),
    "a key that is not there": (
        {"user": "keeper", "cert": "keeper.pem", "key": "missing.key"},
        r"check ca, cert and key .*missing\.key",
    ),
    "the key of another": (
        {"user": "keeper", "cert": "keeper.pem", "key": "thief.key"},
        "check ca, cert and key",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_set_up_wrongly_is_told(
    server: PostgresServer, certificates: Certificates, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It will not come back by itself, so it is an InvalidError: one sentence with the place and what to do."""
    fields, advice = REFUSED[case]
    settings = asked(server, certificates, fields)
    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidError, match=advice) as told:
        async with Postgres(settings):
            pass
    assert str(told.value).startswith(settings.place)
    assert_one_sentence(str(told.value), caplog.text)


def assert_one_sentence(told: str, logged: str) -> None:
    assert "\n" not in told
    for secret in (PASSWORD, WRONG, "PRIVATE KEY"):
        assert secret not in told + logged


async def test_a_server_without_tls_is_told(certificates: Certificates, server: PostgresServer) -> None:
    """Where the line must be encrypted, a server that cannot is refused before a password is sent."""
    server.execute("ALTER SYSTEM SET ssl = off")
    server.execute("SELECT pg_reload_conf()")
    try:
        with pytest.raises(InvalidError, match="does not encrypt the line; turn its TLS on"):
            await works(asked(server, certificates, {}))
    finally:
        server.execute("ALTER SYSTEM RESET ssl")
        server.execute("SELECT pg_reload_conf()")


async def test_what_may_come_back_is_waited_for(server: PostgresServer, certificates: Certificates) -> None:
    """A user who has too many connections, and a name that is not known now, are told as what to try again."""
    with pytest.raises(UnavailableError, match="has no connection left"):
        await works(asked(server, certificates, {"user": "limited"}))
    with pytest.raises(UnavailableError, match="is not found by its name; check host"):
        await works(asked(server, certificates, {"host": "database.invalid"}))


async def test_a_password_may_be_changed_while_ion_runs(
    server: PostgresServer, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """What is open already waits, and works again once the server takes the password again; nothing is lost."""
    settings = asked(server, certificates, {})
    async with Postgres(settings) as database:
        ledger = PostgresLedger(database)
        job = waiting_job(flow="f")
        await ledger.admit([job])
        server.execute(f"ALTER ROLE owner PASSWORD '{WRONG}'")
        try:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'owner'")
            with caplog.at_level(logging.DEBUG):
                told = ""
                async with asyncio.timeout(PATIENCE_S):
                    while "password" not in told:  # its connections may be closing still
                        try:
                            await ledger.get(job.id)
                        except UnavailableError as error:
                            told = str(error)
            assert_one_sentence(told, caplog.text)
        finally:
            server.execute(f"ALTER ROLE owner PASSWORD '{PASSWORD}'")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    assert (await ledger.get(job.id)).id == job.id
                except UnavailableError:
                    await asyncio.sleep(0.1)
                else:
                    break


async def test_certificates_are_named_in_the_pipeline_file(
    server: PostgresServer, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are from the file's folder, the password comes by a variable and is not kept in the store's folder."""
    for name in ("ca.pem", "keeper.pem", "keeper.key"):
        shutil.copy(certificates.folder / name, tmp_path)
    (tmp_path / "keeper.key").chmod(0o600)
    (tmp_path / "ion.yaml").write_text(
        f"""
ion: 1
ledger: {{kind: postgres, host: localhost, port: {server.port}, database: postgres, user: owner, schema: piped,
  sslmode: verify-full, ca: ca.pem}}
documents: {{kind: postgres, host: localhost, port: {server.port}, database: postgres, user: keeper, schema: also,
  sslmode: verify-full, ca: ca.pem, cert: keeper.pem, key: keeper.key}}
modules: {{look: {{command: "true", on: photo}}}}
"""
    )
    monkeypatch.setenv("ION_LEDGER_PASSWORD", PASSWORD)
    settings = load_pipeline(tmp_path / "ion.yaml", environ={}).settings
    async with open_store(tmp_path / ".ion", settings) as stores:
        await stores.ledger.admit([waiting_job(flow="f")])
        await stores.documents.put([record("a")])
    async with open_store(tmp_path / ".ion") as again:  # by what the folder remembers
        assert (await again.ledger.open("f")).waiting == 1
        assert [one.id async for one in again.documents.query(RecordFilter())] == ["a"]
    assert PASSWORD not in (tmp_path / ".ion" / "settings.json").read_text()
