"""`ion doctor`: what it prints and its exit code; and why a remote Ion cannot be reached, on real servers."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.stores.certificates import Certificates
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.config.backends import Backend
from ion.config.settings import Settings
from ion.management.rpc.serve import serving
from ion.wiring import open_management, open_store

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the server, of a client, and of a client of another authority."""
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make("localhost")
    made.make("anna")
    made.make("foreign", by="stranger")
    return made


@asynccontextmanager
async def served(bench: "Bench", certificates: Certificates | None = None) -> AsyncIterator[str]:
    """The management API of the store; with certificates it speaks TLS and wants one of a client."""
    credentials = None
    if certificates is not None:
        files = (certificates.key("localhost"), certificates.pem("localhost"), certificates.pem("ca"))
        key, own, authority = (Path(name).read_bytes() for name in files)  # noqa: ASYNC240  small, and a test
        credentials = grpc.ssl_server_credentials([(key, own)], authority, require_client_auth=True)
    async with (
        open_management(bench.store) as management,
        serving(lambda _: management, host="127.0.0.1", credentials=credentials) as port,
    ):
        yield f"localhost:{port}"


async def doctor(*arguments: str) -> tuple[int, str]:
    """The command in a process of its own: its exit code and output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ion.cli.main", "doctor", *arguments),
        env={**environ, "HOME": "/nowhere"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err, err
    return process.returncode or 0, out.decode()


def tls(certificates: Certificates, name: str = "", authority: str = "ca") -> tuple[str, ...]:
    own = ("--certfile", certificates.pem(name), "--keyfile", certificates.key(name)) if name else ()
    return ("--cacertfile", certificates.pem(authority), *own)


def subjects(out: str) -> list[str]:
    """What the lines are about."""
    return [line.split(":")[0] for line in out.splitlines()]


# ---- a store ----------------------------------------------------------------------------------------------------


def test_warnings_are_grouped_and_are_no_failure(bench: "Bench") -> None:
    """The gravest group first; each symptom that is not fine has the next command below it."""
    bench.do(lambda stores: stores.ledger.pause_module("detect", paused=True, actor="test"))
    result = bench.ion("doctor")
    warnings, fine = result.stdout.split("\nfine\n")
    assert warnings.splitlines() == [
        "warnings",
        "  modules: detect is paused: none of its jobs is started",
        "      ion module resume -n detect",
        "  retention: everything is kept for ever: set `retention` in ion.yaml, or the disk fills up",
        "      ion du",
    ]
    assert [line.split(":")[0].strip() for line in fine.splitlines()][:4] == ["ledger", "documents", "bus", "blobs"]
    assert "0 faults, 2 warnings" in result.stderr


def test_a_fault_is_told_by_the_exit_code(bench: "Bench") -> None:
    """Jobs wait and nobody serves the store."""
    bench.photo()
    out = bench.ion("doctor", code=1).stdout
    assert out.startswith("faults\n  dispatchers: 1 job open, and no dispatcher is at work\n      ion up ion.yaml\n")
    symptoms = json.loads(bench.ion("doctor", "--json", code=1).stdout)
    assert [one["about"] for one in symptoms if one["grade"] == "fault"] == ["dispatchers"]


def test_a_store_that_cannot_be_opened_is_a_fault(mortal: PostgresServer, bench: "Bench") -> None:
    """Its ledger is on a server that is down: the server is named."""

    async def make() -> None:
        ledger = Backend(kind="postgres", options=mortal.settings())
        async with open_store(bench.folder / "other", Settings(ledger=ledger)):
            pass

    asyncio.run(make())
    other = ("--store", str(bench.folder / "other"))
    bench.ion(*other, "doctor", store=False)
    mortal.crash()
    out = bench.ion(*other, "doctor", store=False, code=1).stdout
    assert out.startswith("faults\n  store: ")
    assert str(mortal.port) in out


# ---- a remote Ion -----------------------------------------------------------------------------------------------


async def test_a_remote_ion_is_examined_from_here(bench: "Bench", certificates: Certificates) -> None:
    """The same symptoms, over a plain connection and over TLS on both sides."""
    async with served(bench) as endpoint:
        code, out = await doctor("--endpoint", endpoint)
        assert (code, out.splitlines()[0]) == (0, "warnings")
    async with served(bench, certificates) as endpoint:
        code, secure = await doctor("--endpoint", endpoint, *tls(certificates, "anna"))
        assert (code, subjects(secure)) == (0, subjects(out))


async def test_nobody_listening_is_told(bench: "Bench") -> None:
    """What to start there, and a name that nobody knows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code, out = await doctor("--endpoint", f"127.0.0.1:{free.getsockname()[1]}")
    assert code == 1
    assert out.startswith("faults\n  endpoint: nobody listens on port ")
    assert "\n      ion management start\n" in out
    code, out = await doctor("--endpoint", "nowhere.invalid:9000")
    assert (code, out.split(":")[1].strip()) == (1, "the name nowhere.invalid is not known here")


@pytest.mark.parametrize(
    ("name", "authority", "sentence"),
    [
        ("", "ca", "so it wants a certificate of yours: give one by --cacertfile"),
        ("foreign", "ca", "ca.pem does not either: unable to get local issuer certificate"),
        ("anna", "stranger", "shows a certificate that is not trusted"),
        (None, "", "wants TLS: give --cacertfile"),
    ],
)
async def test_what_tls_lacks_is_named(
    bench: "Bench", certificates: Certificates, name: str | None, authority: str, sentence: str
) -> None:
    """No certificate, one of another CA, a server of another CA, and no TLS at all."""
    async with served(bench, certificates) as endpoint:
        options = () if name is None else tls(certificates, name, authority)
        code, out = await doctor("--endpoint", endpoint, *options)
    assert (code, out.startswith(f"faults\n  endpoint: {endpoint} ")) == (1, True)
    assert sentence in out


async def test_tls_to_a_plain_server_is_named(bench: "Bench", certificates: Certificates) -> None:
    """The options are to be left out, or the server needs a certificate."""
    async with served(bench) as endpoint:
        code, out = await doctor("--endpoint", endpoint, *tls(certificates, "anna"))
    assert (code, "does not speak TLS: leave " in out) == (1, True)


async def test_another_server_is_no_management_api(bench: "Bench") -> None:
    """Something that speaks HTTP listens there, such as the front API."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        code, out = await doctor("--endpoint", f"127.0.0.1:{port}", "--timeout", "60")
    assert (code, "is no management API" in out) == (1, True)
