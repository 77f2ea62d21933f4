"""MongoDB with TLS and log-in (SCRAM-SHA-256): what is trusted works, and whatever is not is told in one sentence.

What this server cannot show is said in `docs/stores/mongodb.md`.
"""

import asyncio
import gc
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.leftovers import LEAVES, collected
from tests.stores.certificates import Certificates
from tests.stores.mongo_server import MongoServer

from ion.adapters.ledger.mongo import MongoLedger
from ion.adapters.mongo.database import MongoDatabase
from ion.adapters.mongo.settings import MongoSettings
from ion.config.load import load_pipeline
from ion.errors import InvalidError, UnavailableError
from ion.model.job import Job
from ion.testing.conformance.ledger_stage import claim, manifest, waiting_job
from ion.wiring import open_store

__all__ = ["collected"]

PATIENCE_S = 180.0
LIMIT_S = 8.0
"""Of calls that fail by it: the client tries for so long to get a line."""
PASSWORD = "correct-horse"
WRONG = "battery-staple"

pytestmark = LEAVES  # a client that is closed while it connects leaves its socket


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make("server", also="IP:127.0.0.1")
    for name in ("keeper", "elsewhere"):
        made.make(name)
    made.make("foreign", by="stranger")
    return made


def with_users(folder: Path) -> Path:
    """The folder of a server that knows its users."""
    with MongoServer(folder) as server, server.client() as client:
        for user, role in (("owner", "readWrite"), ("reader", "read")):
            roles = [{"role": role, "db": "ion"}]
            client.admin.command("createUser", user, pwd=PASSWORD, roles=roles)
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        server.checkpoint()
    return folder


def guarded(folder: Path, certificates: Certificates, *, name: str = "server") -> MongoServer:
    """A server on that folder that asks for TLS and a log-in."""
    own = ("--tls-cert-file", certificates.pem(name), "--tls-key-file", certificates.key(name))
    trust = {"tls": True, "tlsCAFile": certificates.pem("ca"), "tlsAllowInvalidHostnames": True}
    return MongoServer(folder, "--auth", *own, username="root", password=PASSWORD, **trust)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[MongoServer]:
    with guarded(with_users(tmp_path_factory.mktemp("mongodb")), certificates) as server:
        yield server


@pytest.fixture(autouse=True)
def ready(server: MongoServer) -> None:
    """This server accepts nobody during a handshake, and the client leaves a broken one to the garbage collector."""
    gc.collect()
    server.wait()


def asked(server: MongoServer, certificates: Certificates, **fields: Any) -> MongoSettings:
    """Those of `owner` over a line that is checked, with changes."""
    usual = {"user": "owner", "password": PASSWORD, "tls": True, "tls_ca": certificates.pem("ca")}
    return server.settings("ion", **{**usual, **fields})


async def works(settings: MongoSettings) -> None:
    async with MongoDatabase(settings) as database:
        ledger = MongoLedger(database)
        job = waiting_job(flow="f")
        await ledger.admit([job])
        (claimed,) = await ledger.claim(claim())
        assert await ledger.commit(claimed.id, claimed.attempt, manifest())


def told_well(settings: MongoSettings, told: BaseException, logged: str) -> None:
    assert settings.place in str(told)
    assert "\n" not in str(told)
    for secret in (PASSWORD, WRONG, "PRIVATE KEY"):
        assert secret not in str(told) + logged


async def test_a_line_with_tls_is_used(server: MongoServer, certificates: Certificates) -> None:
    """With the right authority and password everything works, by single settings and by a connection string."""
    await works(asked(server, certificates))
    uri = f"mongodb://owner:{PASSWORD}@{server.host}/?authSource=admin&tls=true&tlsCAFile={certificates.pem('ca')}"
    await works(MongoSettings(uri=uri, timeout_s=60.0))


REFUSED: Mapping[str, tuple[Callable[[Certificates], dict[str, Any]], str]] = {
    "an authority that did not sign": (
        lambda made: {"tls_ca": made.pem("stranger"), "timeout_s": LIMIT_S},
        "is not trusted, or has expired",
    ),
    "the system's authorities": (
        lambda _: {"tls_ca": "", "timeout_s": LIMIT_S},
        "is not trusted, or has expired .* set tls_ca",
    ),
    "no such file": (lambda _: {"tls_ca": "/missing.pem"}, r"/missing\.pem.*check uri, hosts, tls_ca and tls_cert"),
    "a file that is no certificate": (lambda made: {"tls_ca": made.key("ca")}, "check uri, hosts, tls_ca and tls_cert"),
    "a key that is not there": (lambda made: {"tls_cert": made.pem("keeper")}, "check uri, hosts, tls_ca and tls_cert"),
    "a wrong password": (lambda _: {"password": WRONG}, "refuses the log-in; check user, password and auth_source"),
    "an unknown user": (lambda _: {"user": "nobody"}, "refuses the log-in; check user, password and auth_source"),
    "another database of users": (lambda _: {"auth_source": "ion"}, "refuses the log-in; check user, password"),
    "nobody": (lambda _: {"user": "", "password": ""}, "give it the right to read, write and make indexes there"),
    "no right in it": (lambda _: {"database": "other"}, "give it the right to read, write and make indexes there"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_set_up_wrongly_is_told(
    server: MongoServer, certificates: Certificates, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It will not come back by itself, so it is an InvalidError: one sentence with the place and what to do."""
    fields, advice = REFUSED[case]
    settings = asked(server, certificates)
    changes = fields(certificates)
    settings = MongoSettings(**{**{name: getattr(settings, name) for name in settings.__struct_fields__}, **changes})
    with caplog.at_level(logging.DEBUG, "ion"), pytest.raises(InvalidError, match=advice) as told:
        async with MongoDatabase(settings):
            pass
    told_well(settings, told.value, caplog.text)


async def test_a_server_of_another_name_is_told(certificates: Certificates, tmp_path: Path) -> None:
    """The certificate is of the right authority, but for another host."""
    with (
        guarded(with_users(tmp_path), certificates, name="elsewhere") as server,
        pytest.raises(InvalidError, match=r"shows a certificate for another name .* set hosts to that name"),
    ):
        await works(asked(server, certificates, timeout_s=LIMIT_S))


async def test_a_certificate_of_the_client_is_shown(certificates: Certificates, tmp_path: Path) -> None:
    """A server that wants one takes an authority's it trusts. Without, the line is closed: told as what tls may be."""
    wants = ("--tls-ca-file", certificates.pem("ca"), "--tls-require-client-cert")
    own = ("--tls-cert-file", certificates.pem("server"), "--tls-key-file", certificates.key("server"))
    shown = {"tls": True, "tlsCAFile": certificates.pem("ca"), "tlsCertificateKeyFile": certificates.both("keeper")}
    with MongoServer(tmp_path / "wants", *own, *wants, **shown) as server:
        open_to_all = {"user": "", "password": ""}
        await works(asked(server, certificates, tls_cert=certificates.both("keeper"), **open_to_all))
        for cert in ("", certificates.both("foreign")):
            with pytest.raises(UnavailableError, match="that tls and tls_cert are as it wants them"):
                await works(asked(server, certificates, tls_cert=cert, timeout_s=LIMIT_S, **open_to_all))


async def test_a_line_without_tls_is_told(server: MongoServer, mongo_server: MongoServer) -> None:
    """One side encrypts and the other does not: that cannot be told from an outage, so tls is named beside it."""
    for settings in (
        server.settings("ion", timeout_s=LIMIT_S),
        mongo_server.settings("ion", tls=True, timeout_s=LIMIT_S),
    ):
        with pytest.raises(UnavailableError, match="that tls and tls_cert are as it wants them"):
            await works(settings)


async def test_a_user_who_may_only_look_is_told_when_he_changes(
    server: MongoServer, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """He opens a database that others made and reads in it; what he may not is refused in one sentence."""
    async with MongoDatabase(asked(server, certificates)):
        pass  # made ready
    settings = asked(server, certificates, user="reader")
    async with MongoDatabase(settings) as database:
        ledger = MongoLedger(database)
        await ledger.waiting()
        with pytest.raises(UnavailableError, match="refuses this user that") as told:
            await ledger.admit([waiting_job(flow="f")])
        told_well(settings, told.value, caplog.text)


async def test_a_password_may_be_changed_while_ion_runs(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is open already waits, and works again once the server takes the password again; nothing is lost."""
    with guarded(with_users(tmp_path), certificates) as server:
        settings = asked(server, certificates)
        async with MongoDatabase(settings) as database:
            ledger = MongoLedger(database)
            job = waiting_job(flow="f")
            await ledger.admit([job])
            with server.client() as client:
                client.admin.command("updateUser", "owner", pwd=WRONG)
            server.checkpoint()
            server.kill()
            server.start()
            server.wait()
            with caplog.at_level(logging.DEBUG, "ion"):
                told = await until(ledger, job, refused=True)
            assert told is not None
            told_well(settings, told, caplog.text)
            with server.client() as client:
                client.admin.command("updateUser", "owner", pwd=PASSWORD)
            await until(ledger, job, refused=False)


async def until(ledger: MongoLedger, job: Job, *, refused: bool) -> UnavailableError | None:
    """Waits until the log-in is refused, and how that is told; or until it is taken and the job is there."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            told = None
            try:
                found = await ledger.get(job.id)
                assert found.id == job.id
            except UnavailableError as error:
                told = error
            if (told is not None and "refuses the log-in" in str(told)) if refused else told is None:
                return told
            await asyncio.sleep(0.1)


async def test_certificates_are_named_in_the_pipeline_file(
    server: MongoServer, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are from the file's folder, the password comes by a variable and is not kept in the store's folder."""
    shutil.copy(certificates.pem("ca"), tmp_path / "authority.pem")
    (tmp_path / "ion.yaml").write_text(
        f"""
ion: 1
ledger: {{kind: mongodb, hosts: "{server.host}", user: owner, tls: true, tls_ca: authority.pem}}
modules: {{look: {{command: "true", on: photo}}}}
"""
    )
    monkeypatch.setenv("ION_LEDGER_PASSWORD", PASSWORD)
    settings = load_pipeline(tmp_path / "ion.yaml", environ={}).settings
    async with open_store(tmp_path / ".ion", settings) as stores:
        await stores.ledger.admit([waiting_job(flow="piped")])
    async with open_store(tmp_path / ".ion") as again:  # by what the folder remembers
        assert (await again.ledger.open("piped")).waiting == 1
    assert PASSWORD not in (tmp_path / ".ion" / "settings.json").read_text()
