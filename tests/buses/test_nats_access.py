"""Who may speak to a NATS server, over which line, and what a stream that is there already must be like."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.buses.nats_server import NatsServer
from tests.buses.nats_tokens import Operator

from ion.adapters.bus.nats import NatsBus
from ion.adapters.bus.nats_settings import NatsSettings, NatsTls
from ion.errors import UnavailableError, UnsupportedError
from ion.testing.conformance.bus_harness import ids_of, made

TOPIC, GROUP = "photo", "detect"
PATIENCE_S = 120.0


async def works(bus: NatsBus) -> None:
    """An event goes through, or it raises."""
    async with bus:
        await bus.ensure([TOPIC], [GROUP])
        await bus.publish([event := made(TOPIC)])
        async with bus.subscribe([TOPIC], GROUP) as receiver:
            deliveries = await receiver.receive(1, PATIENCE_S)
            await receiver.ack(deliveries)
    assert ids_of(deliveries) == [event.id]


@pytest.mark.parametrize(
    ("configuration", "right", "wrong"),
    [
        (
            'authorization { user: ion, password: "s3cret" }',
            {"user": "ion", "password": "s3cret"},
            {"user": "ion", "password": "other"},
        ),
        ('authorization { token: "s3cret" }', {"token": "s3cret"}, {}),
    ],
)
async def test_a_server_asks_who_this_is(
    tmp_path: Path, configuration: str, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    """A refused log-in is told in one sentence, with where the secret may come from."""
    with NatsServer(tmp_path, configuration) as server:
        await works(NatsBus(NatsSettings(servers=(server.url,), **right)))
        with pytest.raises(UnavailableError, match=r"Authorization Violation.*ION_BUS_PASSWORD"):
            await works(NatsBus(NatsSettings(servers=(server.url,), **wrong)))


async def test_a_credentials_file_says_who_this_is(tmp_path: Path) -> None:
    """Of a server that trusts an operator. Without one, or with one of another operator's, nobody is let in."""
    operator = Operator()
    ours, foreign = operator.credentials(tmp_path / "ion.creds"), Operator().credentials(tmp_path / "other.creds")
    with NatsServer(tmp_path / "nats", operator.configuration()) as server:
        await works(NatsBus(NatsSettings(servers=(server.url,), credentials=str(ours))))
        for wrong in ("", str(foreign)):
            with pytest.raises(UnavailableError, match=r"Authorization Violation.*correct who `bus` says this is"):
                await works(NatsBus(NatsSettings(servers=(server.url,), credentials=wrong)))


async def test_a_file_that_holds_no_credentials_is_named(tmp_path: Path) -> None:
    """Missing, empty, without its key, or with one that is torn: one sentence, before the server is asked."""
    whole = Operator().credentials(tmp_path / "whole.creds").read_text()
    key = whole.split("SEED-----\n")[1][:20]
    files = {"empty": "", "half": whole.partition("-----BEGIN USER")[0], "torn": whole.replace(key, "SUA")}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with NatsServer(tmp_path / "nats", 'authorization { user: ion, password: "s3cret" }') as server:
        for name in ("missing", *files):
            file = tmp_path / name
            with pytest.raises(
                UnavailableError, match=rf"credentials file {file} cannot be used.*bus.credentials"
            ) as told:
                await works(NatsBus(NatsSettings(servers=(server.url,), credentials=str(file))))
            assert key not in str(told.value)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, and a certificate for 127.0.0.1 that serves both sides."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    ask = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout key.pem -out cert.pem"
    extensions = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*ask.split(), *extensions], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


async def test_a_line_may_be_encrypted(certificates: Path) -> None:
    """With an authority of one's own, and a certificate on both sides; a stranger's server is not trusted."""
    cert, key = str(certificates / "cert.pem"), str(certificates / "key.pem")
    configuration = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{cert}", verify: true }}'
    with NatsServer(certificates / "nats", configuration) as server:
        ours = NatsTls(ca=cert, cert=cert, key=key)
        await works(NatsBus(NatsSettings(servers=(server.url,), tls=ours)))
        for tls in (NatsTls(), NatsTls(ca=cert)):
            with pytest.raises(UnavailableError, match="no NATS server can be used"):
                await works(NatsBus(NatsSettings(servers=(server.url,), tls=tls, timeout_s=5.0)))
        with pytest.raises(UnavailableError, match=r"none\.pem cannot be used"):
            await works(NatsBus(NatsSettings(servers=(server.url,), tls=NatsTls(ca="/none.pem"))))


async def test_a_server_without_encryption_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    """Somebody between the two may have taken it out."""
    with NatsServer(tmp_path) as server:
        for settings in (
            NatsSettings(servers=(server.url,), tls=NatsTls()),
            NatsSettings(servers=(server.url.replace("nats:", "tls:"),)),
        ):
            with pytest.raises(UnavailableError, match="no encryption"):
                await works(NatsBus(settings))


async def test_another_server_is_tried(tmp_path: Path) -> None:
    """Whichever of them answers will do."""
    with NatsServer(tmp_path / "one") as one, NatsServer(tmp_path / "two") as two:
        one.kill()
        await works(NatsBus(NatsSettings(servers=(one.url, two.url))))


async def asked(bus: NatsBus, subject: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """What JetStream answers."""
    line = await bus._connection.line()
    answer = await line.client.request(f"$JS.API.{subject}", json.dumps(document or {}).encode())
    found: dict[str, Any] = json.loads(answer.data)
    return found


async def test_a_stream_follows_its_settings(tmp_path: Path) -> None:
    """Other limits are set on the stream that is there, with what waits in it."""
    with NatsServer(tmp_path) as server:
        async with NatsBus(NatsSettings(servers=(server.url,))) as bus:
            await bus.ensure([TOPIC], [GROUP])
            await bus.publish([made(TOPIC)])
        async with NatsBus(NatsSettings(servers=(server.url,), max_age_s=3600.0, max_bytes=10**6)) as bus:
            assert await bus.depth(GROUP) == 1
            found = (await asked(bus, "STREAM.INFO.ION"))["config"]
            assert (found["max_age"], found["max_bytes"]) == (3600 * 10**9, 10**6)


async def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    """A stream of another kind by that name, or more replicas than there are servers: one sentence, with what to do."""
    with NatsServer(tmp_path) as server:
        async with NatsBus(NatsSettings(servers=(server.url,))) as bus:
            await asked(bus, "STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["other.>"], "retention": "limits"})
        refused: list[tuple[NatsSettings, str]] = [
            (
                NatsSettings(servers=(server.url,), stream="OTHER", prefix="other"),
                "retention is limits.*`bus.str",
            ),
            (NatsSettings(servers=(server.url,), replicas=3), "replicas > 1 not supported.*mend the bus's settings"),
            (NatsSettings(servers=(server.url,), prefix="other"), "subjects overlap"),
        ]
        for settings, fault in refused:
            with pytest.raises(UnsupportedError, match=fault):
                await works(NatsBus(settings))


async def test_a_server_without_jetstream_is_told_of(tmp_path: Path) -> None:
    """It may also be starting still, so it is asked again."""
    with NatsServer(tmp_path, jetstream=False) as server, pytest.raises(UnavailableError, match="not enabled"):
        await works(NatsBus(NatsSettings(servers=(server.url,))))


async def test_what_an_outsider_publishes_is_received(tmp_path: Path) -> None:
    """A CloudEvents document is an event; anything else comes with its fault, to be buried, and is not in the way."""
    with NatsServer(tmp_path) as server:
        async with NatsBus(NatsSettings(servers=(server.url,))) as bus:
            await bus.ensure([TOPIC], [GROUP])
            outsider = (await bus._connection.line()).client.jetstream()
            await outsider.publish("ion.photo", b"not an event")  # returns when it is stored
            document = {"specversion": "1.0", "id": "7", "source": "/camera", "type": TOPIC}
            await outsider.publish("ion.photo", json.dumps(document).encode())
            assert [event.origid for event in await bus.peek(GROUP, 9)] == ["7"]
            async with bus.subscribe([TOPIC], GROUP) as receiver:
                deliveries = [*await receiver.receive(1, PATIENCE_S), *await receiver.receive(1, PATIENCE_S)]
                await receiver.ack(deliveries)
            assert deliveries[0].raw == b"not an event"
            assert "cannot be read" in deliveries[0].fault
            assert deliveries[1].event is not None
