"""What a client says when the server cannot be had, refuses it, or is not what it should be."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio
import pytest
import trustme

from ion.errors import (
    ConflictError,
    ContractError,
    DeniedError,
    ExistsError,
    InvalidError,
    IonError,
    NotFoundError,
    PipelineError,
    UnavailableError,
    UnsupportedError,
)
from ion.management.rpc.remote import RemoteManagement, open_remote, target_of
from ion.management.rpc.serve import serving
from ion.management.rpc.status import CODES, FAULT, shortened
from ion.management.verbs import Management
from ion.ports.ledger import JobFilter

Handler = Callable[[bytes, Any], Awaitable[bytes]]


def refusing(error: Exception) -> Callable[[object], Management]:
    """Gives nobody any verbs."""

    def who(_: object) -> NoReturn:
        raise error

    return who


async def refusal(remote: RemoteManagement) -> IonError:
    with pytest.raises(IonError) as refused:
        await remote.modules.list()
    return refused.value


@pytest.mark.parametrize(
    "kind",
    [
        InvalidError,
        PipelineError,
        ContractError,
        NotFoundError,
        ConflictError,
        ExistsError,
        DeniedError,
        UnavailableError,
        UnsupportedError,
    ],
)
async def test_every_error_comes_by_the_wire_as_what_it_is(kind: type[IonError]) -> None:
    """Class and sentence, letters of any alphabet and line breaks too."""
    sentence = "das geht nicht — 這不行:\nmend it"
    async with serving(refusing(kind(sentence))) as port, open_remote(f"127.0.0.1:{port}") as remote:
        refused = await refusal(remote)
        with pytest.raises(kind):
            await anext(remote.jobs.log(job="any", follow=True))
    assert (type(refused), str(refused)) == (kind, sentence)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (InvalidError, grpc.StatusCode.INVALID_ARGUMENT),
        (PipelineError, grpc.StatusCode.INVALID_ARGUMENT),
        (ContractError, grpc.StatusCode.INVALID_ARGUMENT),
        (NotFoundError, grpc.StatusCode.NOT_FOUND),
        (ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
        (ExistsError, grpc.StatusCode.ALREADY_EXISTS),
        (DeniedError, grpc.StatusCode.PERMISSION_DENIED),
        (UnavailableError, grpc.StatusCode.UNAVAILABLE),
        (UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_other_clients_get_the_code_and_the_sentence(kind: type[IonError], code: grpc.StatusCode) -> None:
    """A client that knows nothing of Ion's errors has the status for its kind."""
    async with (
        serving(refusing(kind("no: do that"))) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        ask: Any = channel.unary_unary("/ion.v1.Modules/List")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"")
    assert (refused.value.code(), refused.value.details()) == (code, "no: do that")


def test_every_kind_of_error_has_a_code() -> None:
    """A new branch of the tree needs one; what `ion.testing` raises does not travel."""
    branches = [kind for kind in IonError.__subclasses__() if kind.__module__ == IonError.__module__]
    assert len(branches) > 4
    assert all(issubclass(kind, tuple(CODES)) for kind in branches)


async def test_a_fault_of_ours_gives_nothing_away(caplog: pytest.LogCaptureFixture) -> None:
    """What should not happen is INTERNAL with a neutral sentence; the log has the traceback."""
    async with serving(refusing(ZeroDivisionError("secret"))) as port, open_remote(f"127.0.0.1:{port}") as remote:
        refused = await refusal(remote)
    assert (type(refused), str(refused)) == (UnavailableError, f"Ion at 127.0.0.1:{port} failed (INTERNAL): {FAULT}")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_sentence_that_is_too_long_is_shortened() -> None:
    """However long a name in it is, the refusal arrives."""
    async with serving(refusing(NotFoundError("ü" * 100_000))) as port, open_remote(f"127.0.0.1:{port}") as remote:
        refused = await refusal(remote)
    assert isinstance(refused, NotFoundError)
    assert 300 < len(str(refused)) < 1000
    assert str(refused).endswith("…")
    assert shortened("short") == "short"


async def test_a_server_that_is_not_there_is_named() -> None:
    """A closed port is UnavailableError, with the endpoint and the cause; for streams and uploads as well."""
    async with open_remote("localhost:1", timeout_s=60.0) as remote:
        for call in (
            remote.modules.list(),
            anext(remote.jobs.log(job="a", follow=True)),
            anext(remote.flows.tree(flow="a")),
        ):
            with pytest.raises(UnavailableError, match=r"no answer from Ion at localhost:1: .*refused; is it up"):
                await call


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    """One that takes connections and says nothing is UnavailableError once the time is out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with open_remote(f"127.0.0.1:{port}", timeout_s=0.1) as remote:
            for call in (
                remote.modules.list(),
                remote.flows.wait(flow="a"),
                anext(remote.jobs.log(job="a", follow=True)),
                anext(remote.flows.tree(flow="a")),
            ):
                with pytest.raises(UnavailableError, match=f"no answer from Ion at 127.0.0.1:{port}"):
                    await call


async def test_deadlines_are_those_of_the_call() -> None:
    """A call may take as long as the client says; what may go on for ever, and a stream, has none."""
    left: list[float | None] = []

    def who(context: Any) -> NoReturn:
        left.append(context.time_remaining())
        raise DeniedError("no")

    async with serving(who) as port, open_remote(f"127.0.0.1:{port}", timeout_s=100.0) as remote:
        for call in (
            remote.modules.list(),
            remote.flows.wait(flow="f"),
            anext(remote.jobs.log(job="j", follow=True)),
            anext(remote.findings.find(subject="s")),
        ):
            with pytest.raises(DeniedError):
                await call
    short, *none = left
    assert short
    assert short < 500  # the clocks of both sides are coarse
    assert none == [None, None, None]


async def test_a_taken_port_is_refused_with_a_sentence(local: Management) -> None:
    """Two servers never share a port without knowing."""
    async with serving(lambda _: local) as port:
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}: the port is taken"):
            async with serving(lambda _: local, port=port):
                pass


@pytest.fixture
async def other() -> AsyncIterator[str]:
    """A server of another version: it knows one call only, which it does not let one use, and answers too much."""

    async def denied(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return b""

    async def large(_: bytes, _context: Any) -> bytes:
        return b"\x0a" + b"\xff" * 10

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "List": grpc.unary_unary_rpc_method_handler(denied),
        "Get": grpc.unary_unary_rpc_method_handler(large),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ion.v1.Modules", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_server_of_another_kind_is_told_from_ours(other: str) -> None:
    """A call it does not know, a client it does not know, an answer that is none: each is an error of Ion's."""
    async with open_remote(other) as remote:
        with pytest.raises(UnsupportedError, match="does not know this call: it is of another version"):
            await remote.jobs.page(which=JobFilter())
        with pytest.raises(DeniedError, match=r"who are you\?"):
            await remote.modules.list()
        with pytest.raises(UnsupportedError, match="answers what this client cannot read"):
            await remote.modules.get(name="a")


# ---- TLS ------------------------------------------------------------------------------------------------------------


class Pki:
    """A CA, a server's certificate and a client's, as files."""

    def __init__(self, folder: Path) -> None:
        self.ca, other = trustme.CA(), trustme.CA()
        server, client = self.ca.issue_cert("localhost"), self.ca.issue_cert("client@example.org")
        self.key, self.chain = server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes()
        client.private_key_pem.write_to_path(folder / "key.pem")
        client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        self.ca.cert_pem.write_to_path(folder / "ca.pem")
        other.cert_pem.write_to_path(folder / "other.pem")
        self.files = {name: str(folder / f"{name}.pem") for name in ("key", "cert", "ca", "other")}

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.key, self.chain)], root_certificates=self.ca.cert_pem.bytes(), require_client_auth=True
        )


async def test_both_sides_show_certificates(local: Management, tmp_path: Path) -> None:
    """With certificate, key and CA a client is served; without its own, or with another CA, it is not."""
    pki = Pki(tmp_path)
    key, cert, ca, other = (pki.files[name] for name in ("key", "cert", "ca", "other"))
    async with serving(lambda _: local, credentials=pki.credentials()) as port:
        endpoint = f"localhost:{port}"
        async with open_remote(endpoint, certfile=cert, keyfile=key, cacertfile=ca) as remote:
            assert await remote.modules.list() == await local.modules.list()
        hung_up, stranger = "it hung up: does it want TLS", "its certificate is not of the CA that is trusted here"
        for files, said in (
            ({"cacertfile": ca}, hung_up),
            ({"certfile": cert, "keyfile": key, "cacertfile": other}, stranger),
            ({}, hung_up),
        ):
            async with open_remote(endpoint, timeout_s=60.0, **files) as remote:
                with pytest.raises(UnavailableError, match=f"no answer from Ion at {endpoint}: {said}"):
                    await remote.modules.list()
    async with serving(lambda _: local) as port, open_remote(f"localhost:{port}", cacertfile=ca) as remote:
        with pytest.raises(UnavailableError, match="it does not speak TLS: leave out certificate, key and CA"):
            await remote.modules.list()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"certfile": "c"}, "a certificate is given without its key"),
        ({"keyfile": "k", "cacertfile": "a"}, "a key is given without its certificate"),
        ({"cacertfile": "/nowhere/ca.pem"}, "/nowhere/ca.pem cannot be read: No such file"),
    ],
)
async def test_half_of_tls_is_refused(files: dict[str, Any], said: str) -> None:
    """Nothing is sent in the clear because a file is missing."""
    with pytest.raises(InvalidError, match=said):
        async with open_remote("localhost:1", **files):
            pass


def test_an_endpoint_may_leave_out_its_port() -> None:
    """9000 is meant then; an empty endpoint is refused."""
    assert [target_of(one) for one in ("ion.acme", " [::1] ", "ion.acme:1", "[::1]:1")] == [
        "ion.acme:9000",
        "[::1]:9000",
        "ion.acme:1",
        "[::1]:1",
    ]
    with pytest.raises(InvalidError, match="the endpoint is empty"):
        target_of(" ")
