"""Who gets a connection: the real server over real TLS, with real clients."""

import asyncio
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.management.access.conftest import ClientFiles, World

from ion.errors import DeniedError, InvalidError, UnavailableError
from ion.management.access import issuing
from ion.management.access.authority import Authority
from ion.management.access.material import Files, Material
from ion.model.role import Role


async def refused(client: ClientFiles, port: int) -> None:
    """The client gets no connection."""
    async with client.to(port) as management:
        with pytest.raises(UnavailableError):
            await management.server.info()


async def test_a_client_of_the_authority_is_let_in(world: World) -> None:
    """And the server knows who it is."""
    async with world.serving() as port, world.client("alice", Role.OPERATOR).to(port) as management:
        info = await management.server.info()
    assert (info.actor, info.role) == ("alice", "operator")


async def test_a_client_of_another_authority_is_refused(world: World, stranger: Authority) -> None:
    """However good its certificate is there."""
    async with world.serving() as port:
        await refused(world.client("alice", by=stranger), port)


async def test_a_client_without_a_certificate_is_refused(world: World) -> None:
    """As with the original: a certificate is not asked for, it is required."""
    async with world.serving() as port:
        await refused(ClientFiles(None, world.trusted), port)


async def test_a_client_without_tls_is_refused(world: World) -> None:
    """Nothing is answered in the clear."""
    from ion.management.rpc.remote import open_remote

    async with world.serving() as port, open_remote(f"localhost:{port}", timeout_s=60.0) as management:
        with pytest.raises(UnavailableError):
            await management.server.info()


async def test_an_expired_certificate_is_refused(world: World) -> None:
    """It was good until yesterday."""
    client = world.client("alice")
    assert client.own is not None
    own = issuing.opened(world.authority.ca.read_bytes(), (world.authority.folder / "ca.key").read_bytes())
    old, now = x509.load_pem_x509_certificate(client.own.certificate.read_bytes()), datetime.now(UTC)
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number)
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    dated = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    client.own.certificate.write_bytes(issuing.pem(dated.sign(own.key, hashes.SHA256())))
    async with world.serving() as port:
        await refused(client, port)


async def test_a_servers_certificate_is_no_clients(world: World) -> None:
    """Whoever steals it cannot administer with it."""
    async with world.serving() as port:
        await refused(ClientFiles(world.authority.server, world.trusted), port)


async def test_a_revoked_certificate_is_refused_on_an_open_connection(world: World) -> None:
    """From the next call on, and on new connections."""
    client = world.client("alice")
    async with world.serving() as port:
        async with client.to(port) as management:
            await management.server.info()
            world.authority.revoke("alice")
            with pytest.raises(DeniedError, match="of alice is revoked"):
                await management.server.info()
        async with client.to(port) as management:
            with pytest.raises(DeniedError, match="of alice is revoked"):
                await management.jobs.retry(jobs=("x",))
    (entry,) = await world.trail()
    assert (entry.actor, entry.role, entry.verb) == ("alice", "", "jobs.retry")
    assert "is revoked" in entry.outcome


async def test_material_that_changes_is_used_from_the_next_connection_on(world: World, stranger: Authority) -> None:
    """A further authority is trusted, and no longer, and a new certificate shown, all without a restart."""
    known, unknown = world.client("alice"), world.client("mallory", by=stranger)
    async with world.serving() as port, known.to(port) as open_one:
        await open_one.server.info()
        await refused(unknown, port)
        world.authority.ca.write_bytes(world.authority.ca.read_bytes() + stranger.ca.read_bytes())
        shown = await asyncio.to_thread(serial_of, port)
        world.authority.init((), replace=True)
        assert await asyncio.to_thread(serial_of, port) != shown
        async with ClientFiles(unknown.own, world.trusted).to(port) as management:
            assert (await management.server.info()).actor == "mallory"
        await open_one.server.info()


async def test_material_that_cannot_be_used_leaves_the_last_good_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A file half written, or a key that is another's: one warning, and clients go on coming in."""
    client, files = world.client("alice"), world.authority.server
    async with world.serving() as port:
        for file, content in ((files.certificate, b"-----BEGIN CERTI"), (files.key, b""), (files.ca, b"x")):
            good = file.read_bytes()
            caplog.clear()
            file.write_bytes(content)
            for _ in range(2):
                async with client.to(port) as management:
                    await management.server.info()
            warnings = [one.message for one in caplog.records if "stay in use" in one.message]
            assert len(warnings) == 1
            assert str(file) in warnings[0]
            file.write_bytes(good)
            async with client.to(port) as management:
                await management.server.info()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_tls_before_1_2_is_refused(world: World, version: ssl.TLSVersion) -> None:
    """By this server: another one that allows it does speak it with the same client."""
    async with world.serving() as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(version_of, world, port, version)
    allowed = await asyncio.to_thread(spoken_with_another, world, version)
    assert allowed == {ssl.TLSVersion.TLSv1: "TLSv1", ssl.TLSVersion.TLSv1_1: "TLSv1.1"}[version]


@pytest.mark.parametrize(
    ("version", "spoken"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
async def test_tls_from_1_2_on_is_spoken(world: World, version: ssl.TLSVersion, spoken: str) -> None:
    """Older clients have 1.2 only."""
    async with world.serving() as port:
        assert await asyncio.to_thread(version_of, world, port, version) == spoken


def test_files_that_do_not_belong_together_are_refused_at_the_start(authority: Authority, stranger: Authority) -> None:
    """In one sentence that names them."""
    mixed = Files(authority.server.certificate, stranger.server.key, authority.ca)
    with pytest.raises(InvalidError, match=r"stranger/server\.key is not the key of .*certs/server\.pem"):
        Material(mixed)
    with pytest.raises(InvalidError, match="nowhere cannot be read: No such file"):
        Material(authority.server._replace(ca=Path("nowhere")))


# ---- TLS by another library than gRPC's -------------------------------------------------------------------------


def serial_of(port: int) -> int:
    """The serial of the certificate that the server shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def version_of(world: World, port: int, version: ssl.TLSVersion) -> str | None:
    """The version of TLS that the server speaks with a client of the authority that has no other."""
    context = ssl.create_default_context(cafile=str(world.trusted))
    only(context, version)
    if not world.authority.files_of("tls").certificate.exists():
        world.client("tls")
    files = world.authority.files_of("tls")
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), 60) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as s,
    ):
        return s.version()


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")


def spoken_with_another(world: World, version: ssl.TLSVersion) -> str | None:
    """What a server that allows the version speaks with the same client."""
    import threading

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    only(context, version)
    context.load_cert_chain(world.authority.server.certificate, world.authority.server.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with suppress(OSError):
                raw, _ = listening.accept()
                with context.wrap_socket(raw, server_side=True) as wrapped:
                    wrapped.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return version_of(world, listening.getsockname()[1], version)
        finally:
            thread.join(20)
