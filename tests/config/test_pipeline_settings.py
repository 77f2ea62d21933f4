"""What stands in a pipeline file beside the modules."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.bus.nats_settings import NatsSettings, NatsTls
from ion.adapters.mongo.settings import MongoSettings
from ion.adapters.postgres.settings import PostgresSettings
from ion.config.backends import Backend, recalled, with_secrets, without_secrets
from ion.config.buses import BUSES
from ion.config.pipeline import Pipeline
from ion.config.settings import Front, Guards, Machine, MountSource, SecretSource, Served, Settings
from ion.errors import PipelineError
from ion.model.retention import Retention
from ion.model.role import Grant, Role

Load = Callable[..., Pipeline]
Refusal = Callable[..., str]
ONE = "ion: 1\nmodules: {a: {command: [x]}}\n"


def test_the_management_api_has_a_section_of_its_own(load: Load, tmp_path: Path) -> None:
    """Paths start at the file; a port may be off; a single pipeline needs no list."""
    section = """
    management:
      host: ion.acme
      port: 9443
      certificate: certs/server.pem
      key: certs/server.key
      ca: /etc/ion/ca.pem
      metrics_port: off
      roles: [{subject: "CN=alice,O=acme", role: operator, pipelines: media}, {subject: ci-*, role: viewer}]
    """
    served = load(ONE + dedent(section)).settings.management
    assert served == Served(
        host="ion.acme",
        port=9443,
        certificate=str(tmp_path / "certs/server.pem"),
        key=str(tmp_path / "certs/server.key"),
        ca="/etc/ion/ca.pem",
        metrics_port=None,
        roles=(
            Grant(subject="CN=alice,O=acme", role=Role.OPERATOR, pipelines=("media",)),
            Grant(subject="ci-*", role=Role.VIEWER),
        ),
    )


def test_nothing_need_be_said(load: Load) -> None:
    """Without settings, everything has Ion's defaults."""
    assert load(ONE).settings == Settings()
    assert Settings().ledger.kind == "sqlite"
    assert Settings().guards.max_hops == 32


def test_every_section_is_typed(load: Load) -> None:
    """Sizes are bytes, durations seconds, and a kind may stand alone."""
    text = """
bus: memory
ledger: {kind: memory}
documents: {kind: sqlite}
blobs: {kind: filesystem}
synchronous: full
front: {port: 0, host: 0.0.0.0, tokens: ['${T}', b], open: true, max_body: 2Gi, max_json: 64Ki, max_files: 5, stall: 5s}
retention: {intermediates: 7d, results: never, failed: 90d, logs: 12h, ids: 60d}
machine: {cpu: 1.5, memory: 8Gi, gpus: 2}
guards: {max_hops: 8, max_jobs: 100}
mounts: {m: /m, c: {pvc: claim}}
secrets: {vision-key: {env: VISION_KEY}, other: {file: /run/secrets/other}}
"""
    assert load(ONE + text, environ={"T": "secret-token"}).settings == Settings(
        bus=Backend(kind="memory"),
        ledger=Backend(kind="memory"),
        documents=Backend(kind="sqlite"),
        synchronous="full",
        front=Front(
            port=0,
            host="0.0.0.0",
            tokens=("secret-token", "b"),
            open=True,
            max_body=2 * 2**30,
            max_json=64 * 2**10,
            max_files=5,
            stall_s=5.0,
        ),
        retention=Retention(intermediates_s=7 * 86400.0, failed_s=90 * 86400.0, logs_s=12 * 3600.0, ids_s=60 * 86400.0),
        machine=Machine(cpu=1.5, memory=8 * 2**30, gpus=("0", "1")),
        guards=Guards(max_hops=8, max_jobs=100),
        mounts={"m": MountSource(folder="/m"), "c": MountSource(pvc="claim")},
        secrets={"vision-key": SecretSource(env="VISION_KEY"), "other": SecretSource(file="/run/secrets/other")},
    )


def test_a_bus_has_settings_of_its_own(load: Load, tmp_path: Path) -> None:
    """Durations become seconds, sizes bytes, files absolute paths; one server need not be a list."""
    text = """
bus:
  kind: nats
  servers: nats://${HOST}:4222
  stream: MEDIA
  prefix: acme.media
  replicas: 3
  max_age: 7d
  max_bytes: 1Gi
  dedupe_window: 5m
  ack_wait: 1m
  timeout: 2s
  user: ion
  password: ${PASSWORD}
  tls: {ca: ca.pem, cert: /c.pem, key: /k.pem}
"""
    bus = load(ONE + text, environ={"HOST": "n1", "PASSWORD": "s3cret"}).settings.bus
    assert bus == Backend(
        kind="nats",
        options=NatsSettings(
            servers=("nats://n1:4222",),
            stream="MEDIA",
            prefix="acme.media",
            replicas=3,
            max_age_s=7 * 86400.0,
            max_bytes=2**30,
            dedupe_window_s=300.0,
            ack_wait_s=60.0,
            timeout_s=2.0,
            user="ion",
            password="s3cret",
            tls=NatsTls(ca=str(tmp_path / "ca.pem"), cert="/c.pem", key="/k.pem"),
        ),
    )
    assert "s3cret" not in repr(bus)


def test_the_kind_of_a_bus_may_stand_alone(load: Load) -> None:
    """Then everything else is as by default: a server on this host."""
    assert load(ONE + "bus: nats\n").settings.bus == Backend(kind="nats", options=NatsSettings())
    never = Backend(kind="nats", options=NatsSettings(max_age_s=None))
    assert load(ONE + "bus: {kind: nats, max_age: never}\n").settings.bus == never


def test_stores_on_servers_are_chosen_by_kind(load: Load, tmp_path: Path) -> None:
    """Documents and bus are the ledger's where nothing else is said; paths are beside the file."""
    text = """
ledger: {kind: postgres, host: db.acme, password: "${PASSWORD}", sslmode: verify-full, ca: ca.pem, timeout: 2s}
blobs: {kind: azure, url: az://files/ion, account: acme, account_key: "${PASSWORD}", part_size: 8Mi, retry_for: 1m}
"""
    settings = load(ONE + text, environ={"PASSWORD": "s3cret"}).settings
    assert (settings.documents, settings.bus) == (None, None)
    assert settings.ledger.options == PostgresSettings(
        host="db.acme", password="s3cret", sslmode="verify-full", ca=str(tmp_path / "ca.pem"), timeout_s=2.0
    )
    assert settings.blobs.options == ObjectsSettings(
        url="az://files/ion", account="acme", account_key="s3cret", part_size=2**23, retry_for_s=60.0
    )
    assert "s3cret" not in repr(settings)
    narrow = load(
        ONE + "blobs: {kind: s3, url: s3://b, role: 'arn:aws:iam::1:role/r', sts_endpoint: 'https://sts'}\n"
    ).settings
    assert narrow.blobs.options == ObjectsSettings(
        url="s3://b", role="arn:aws:iam::1:role/r", sts_endpoint="https://sts"
    )
    mixed = load(ONE + "ledger: postgres\ndocuments: {kind: mongodb, hosts: [a:1, b:2], poll: 1s}\n").settings
    assert mixed.ledger == Backend(kind="postgres", options=PostgresSettings())
    assert mixed.documents == Backend(kind="mongodb", options=MongoSettings(hosts=("a:1", "b:2"), poll_s=1.0))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("blobs: s3", "blobs lacks the key 'url'"),
        ("blobs: {kind: s3, url: az://files}", "blobs.url must be s3://BUCKET"),
        ("blobs: {kind: azure, url: az://files}", "account is missing"),
        ("blobs: {kind: gcs, url: gs://b, region: eu}", "unknown key 'region'"),
        ("ledger: {kind: postgres, ca: ca.pem}", "ca is only looked at"),
        ("ledger: {kind: mongodb, password: x}", "password is given without user"),
        ("ledger: nats", "ledger must be one of sqlite, memory, postgres, mongodb"),
    ],
)
def test_a_store_that_cannot_be_is_refused(load: Load, text: str, fault: str) -> None:
    """With the place in the file, before anything is opened."""
    with pytest.raises(PipelineError, match=fault):
        load(ONE + text + "\n")


def test_a_bus_is_written_down_without_its_secrets() -> None:
    """They come again from the environment, where the file has not given them."""
    given = NatsSettings(servers=("a", "b"), user="ion", password="s3cret", tls=NatsTls(ca="/ca"))
    kept = without_secrets(Backend(kind="nats", options=given))
    assert kept == {"servers": ("a", "b"), "user": "ion", "tls": {"ca": "/ca"}}
    found = recalled(BUSES, "nats", kept)
    assert found.options.password == ""
    assert with_secrets("bus", found, {"ION_BUS_PASSWORD": "s3cret"}).options == given
    assert with_secrets("bus", Backend(kind="nats", options=given), {"ION_BUS_PASSWORD": "other"}).options == given
    assert recalled(BUSES, "sqlite", without_secrets(Backend(kind="sqlite"))) == Backend(kind="sqlite")


def test_nothing_is_taken_unless_asked_for(load: Load) -> None:
    """By default everything is kept; `never` says so, and only ids of what has expired go by themselves."""
    assert not Retention().takes
    assert Retention().ids_s == 30 * 86400.0
    never = "retention: {intermediates: never, results: never, failed: never, logs: never, ids: never}\n"
    assert load(ONE + never).settings.retention == Retention(ids_s=None)
    assert load(ONE + "retention: {logs: 1d}\n").settings.retention.takes


def test_gpus_may_be_named_or_none(load: Load) -> None:
    """A list names devices; 0 offers none, which is not the same as looking for them."""
    assert load(ONE + "machine: {gpus: [GPU-1, '3']}\n").settings.machine.gpus == ("GPU-1", "3")
    assert load(ONE + "machine: {gpus: 0}\n").settings.machine.gpus == ()
    assert load(ONE).settings.machine.gpus is None


def test_tokens_are_not_shown() -> None:
    """A token stands in no log that prints the settings."""
    assert "secret-token" not in repr(Settings(front=Front(tokens=("secret-token",))))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "ledger: posgres",
            "ion.yaml:3: ledger must be one of sqlite, memory, postgres, mongodb (did you mean 'postgres'?",
        ),
        (
            "bus: {kind: kafka}",
            "ion.yaml:3: bus.kind must be one of none, sqlite, memory, nats, rabbitmq, servicebus (known are: ",
        ),
        (
            "bus: nast",
            "ion.yaml:3: bus must be one of none, sqlite, memory, nats, rabbitmq, servicebus (did you mean 'nats'?)",
        ),
        (
            "bus: {servers: [a]}",
            "ion.yaml:3: bus lacks the key 'kind'; add it: none, sqlite, memory, nats, rabbitmq, servicebus",
        ),
        ("bus: [nats]", "ion.yaml:3: bus must be a single value, not a list"),
        ("bus: {kind: nats, server: a}", "ion.yaml:3: unknown key 'server' in bus; did you mean 'servers'?"),
        ("bus: {kind: sqlite, servers: [a]}", "ion.yaml:3: unknown key 'servers' in bus; known are: kind"),
        ("bus: {kind: nats, servers: ['nats://u:p@h']}", "ion.yaml:3: bus.servers[0] must be nats://HOST:PORT or"),
        ("bus: {kind: nats, stream: a.b}", "ion.yaml:3: bus.stream must be a name of letters, digits, - and _, not"),
        ("bus: {kind: nats, user: a, token: b}", "ion.yaml:3: bus: user and token are two ways to say who this is"),
        ("bus: {kind: nats, tls: {cert: a}}", "ion.yaml:3: bus.tls: cert and key belong together; write both"),
        ("bus: {kind: nats, max_age: 5s}", "ion.yaml:3: bus: max_age is shorter than dedupe_window"),
        ("blobs: {}", "ion.yaml:3: blobs lacks the key 'kind'; add it"),
        ("front: {port: 70000}", "ion.yaml:3: front.port must be a whole number from 0 to 65535, not '70000'"),
        (
            "management: {port: on}",
            "ion.yaml:3: management.port must be off, or a whole number from 0 to 65535, not 'on'",
        ),
        (
            "management: {roles: [{subject: CN=a, role: root}]}",
            "ion.yaml:3: management.roles[0].role must be one of viewer, operator, admin",
        ),
        ("management: {roles: [{role: admin}]}", "ion.yaml:3: management.roles[0] lacks the key 'subject'; add it"),
        ("front: {tokens: abc}", "ion.yaml:3: front.tokens must be a list, not a single value"),
        ("front: {tokens: ['${NONE:-}']}", "ion.yaml:3: front.tokens[0] must be text that is not empty"),
        ("front: {open: 1}", "ion.yaml:3: front.open must be true or false, not '1'"),
        (
            "retention: {results: 0}",
            "ion.yaml:3: retention.results must be never, or a duration longer than 0, not '0'",
        ),
        ("retention: {logs: no}", "ion.yaml:3: retention.logs must be never, or a duration such as"),
        (
            "retention: {dead: 3d}",
            "ion.yaml:3: unknown key 'dead' in retention; known are: failed, ids, intermediates, logs, results",
        ),
        ("guards: {max_hop: 3}", "ion.yaml:3: unknown key 'max_hop' in guards; did you mean 'max_hops'?"),
        ("mounts: {m: {pvc: a, folder: b}}", "ion.yaml:3: mounts.m: a mount is either a folder or a pvc"),
        ("mounts: {m: {}}", "ion.yaml:3: mounts.m: a mount is either a folder or a pvc"),
        ("secrets: {s: {env: A, file: b}}", "ion.yaml:3: secrets.s: a secret comes from env or from file"),
        ("secrets: {s: sk-1234}", "ion.yaml:3: secrets.s must be a mapping, not a single value"),
    ],
)
def test_a_mistake_in_a_setting_is_told_with_its_line(refusal: Refusal, line: str, expected: str) -> None:
    """One sentence: the line, the key, what it must be."""
    assert refusal(ONE + line + "\n").startswith(expected)
