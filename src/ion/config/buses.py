"""The kinds of bus, each with a section of its own.

A further kind is one more entry of `BUSES`, with its adapter's settings as the section's `struct`, and its opener in
`ion.wiring`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from ion.adapters.bus.nats_settings import NatsSettings, NatsTls
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.config.backends import Backend, kind_of
from ion.config.kinds import FILLED, Age, Duration, Flag, Located, Location, Size, Text, Whole
from ion.config.tables import Chosen, Field, Many, Section

T = TypeVar("T")
_SERVER = Text(pattern=r"((nats|tls)://)?[^\s/@]+", wants="nats://HOST:PORT or tls://HOST:PORT without a password")
_NAME = Text(pattern=r"[-_A-Za-z0-9]{1,100}", wants="a name of letters, digits, - and _")
_SHORT = Text(pattern=r"[-_A-Za-z0-9]{1,40}", wants="a name of at most 40 letters, digits, - and _")
_PREFIX = Text(
    pattern=r"[-_A-Za-z0-9]+(\.[-_A-Za-z0-9]+)*", wants="names of letters, digits, - and _ with dots between"
)

_kind = partial(kind_of, "bus")


def _tls(kind: str, build: Callable[..., T]) -> Section[T]:
    return Section(
        name=f"bus_{kind}_tls",
        doc="Encryption; an empty mapping trusts the system's authorities.",
        build=build,
        fields={
            "ca": Field(kind=Located(), doc="A PEM file of the authorities to trust, in place of the system's."),
            "cert": Field(kind=Located(), doc="A PEM file with this client's certificate."),
            "key": Field(kind=Located(), doc="A PEM file with its key."),
        },
    )


def _nats_tls(**files: Location) -> NatsTls:
    return NatsTls(**{name: file.path for name, file in files.items()})


def _nats(*, credentials: Location | None = None, **values: Any) -> NatsSettings:
    return NatsSettings(credentials=credentials.path if credentials else "", **values)


_NATS = _kind(
    "nats",
    "NATS JetStream; needs ion-events[nats].",
    options=_nats,
    struct=NatsSettings,
    fields={
        "servers": Field(kind=Many(item=_SERVER, single=True), doc="Servers of one cluster; nats://127.0.0.1:4222."),
        "stream": Field(kind=_NAME, doc="The stream's name; Ions that share a server have one each."),
        "prefix": Field(kind=_PREFIX, doc="What stands before event types in subjects; another for each stream."),
        "replicas": Field(kind=Whole(least=1, most=5), doc="How many servers keep each event: 1, 3 or 5."),
        "max_age": Field(
            kind=Age(),
            doc="After how long an event is dropped that a group has not acknowledged, or never; 14d. Shorter than"
            " retention.ids.",
            into="max_age_s",
        ),
        "max_bytes": Field(kind=Size(), doc="Bytes that may wait; beyond them new events are refused. Else no bound."),
        "dedupe_window": Field(
            kind=Duration(), doc="How long an id that is published again is dropped; 2m.", into="dedupe_window_s"
        ),
        "ack_wait": Field(
            kind=Duration(), doc="After how long without a sign of life a delivery comes again; 30s.", into="ack_wait_s"
        ),
        "timeout": Field(kind=Duration(), doc="How long an answer may take; 5s.", into="timeout_s"),
        "user": Field(kind=FILLED, doc="Who this is, with a password."),
        "password": Field(kind=FILLED, doc="The user's password: ${VARIABLE}, or ION_BUS_PASSWORD."),
        "token": Field(kind=FILLED, doc="Who this is, in place of user and password: ${VARIABLE}, or ION_BUS_TOKEN."),
        "credentials": Field(kind=Located(), doc="Who this is: a credentials file that nsc made."),
        "tls": Field(kind=_tls("nats", _nats_tls), doc="Encryption with files of one's own."),
    },
)


def _rabbit_tls(**files: Location) -> dict[str, Any]:
    return {"tls": True, **{f"tls_{name}": file.path for name, file in files.items()}}


def _rabbit(*, tls: Mapping[str, Any] | None = None, **values: Any) -> RabbitSettings:
    return RabbitSettings(**values, **(tls or {}))


_RABBIT = _kind(
    "rabbitmq",
    "RabbitMQ; needs ion-events[rabbitmq].",
    options=_rabbit,
    struct=RabbitSettings,
    fields={
        "host": Field(kind=FILLED, doc="The broker's name or address; 127.0.0.1."),
        "port": Field(kind=Whole(most=65_535), doc="Its port; 5672, with tls 5671."),
        "user": Field(kind=FILLED, doc="Who Ion is to the broker."),
        "password": Field(kind=FILLED, doc="The user's password: ${VARIABLE}, or ION_BUS_PASSWORD."),
        "vhost": Field(kind=FILLED, doc="The virtual host."),
        "tls": Field(kind=_tls("rabbitmq", _rabbit_tls), doc="Encryption, with files of one's own if need be."),
        "prefix": Field(kind=_SHORT, doc="What every exchange's and queue's name begins with."),
        "prefetch": Field(kind=Whole(least=1, most=65_535), doc="Events that one receiver holds, unacknowledged."),
        "publish_window": Field(kind=Whole(least=1), doc="Events that await their confirmation at a time."),
        "queue_limit": Field(kind=Whole(), doc="Events that may wait for a group; beyond them new ones are refused."),
        "max_age": Field(
            kind=Age(),
            doc="After how long an event is dropped that a group has not taken, or never; 14d. Shorter than"
            " retention.ids.",
            into="max_age_s",
        ),
        "event_limit": Field(kind=Size(), doc="The largest event; 16Mi.", into="event_limit_bytes"),
        "timeout": Field(kind=Duration(), doc="How long an answer may take; 10s.", into="timeout_s"),
        "heartbeat": Field(kind=Whole(least=1, most=3600), doc="Seconds between signs of life.", into="heartbeat_s"),
    },
)


def _servicebus(*, ca: Location | None = None, **values: Any) -> ServiceBusSettings:
    return ServiceBusSettings(ca_file=ca.path if ca else "", **values)


_SERVICEBUS = _kind(
    "servicebus",
    "Azure Service Bus; needs ion-events[servicebus].",
    options=_servicebus,
    struct=ServiceBusSettings,
    fields={
        "connection_string": Field(kind=FILLED, doc="With a key: ${VARIABLE}, or ION_BUS_CONNECTION_STRING."),
        "namespace": Field(
            kind=FILLED, doc="NAME.servicebus.windows.net, in place of it: an identity of Azure's is used."
        ),
        "prefix": Field(kind=FILLED, doc="Stands before every topic's name. Lower case."),
        "may_manage": Field(kind=Flag(), doc="Whether the identity may make topics and subscriptions, and see depths."),
        "lock": Field(kind=Duration(), doc="How long a delivery is locked; 60s.", into="lock_s"),
        "message_ttl": Field(
            kind=Duration(),
            doc="After how long an event that a group has not taken becomes a dead letter, which Ion takes too; 14d."
            " Shorter than retention.ids.",
            into="message_ttl_s",
        ),
        "duplicate_window": Field(
            kind=Duration(positive=False),
            doc="How long a topic knows an id again, 0 for never; 10m.",
            into="duplicate_window_s",
        ),
        "most_deliveries": Field(kind=Whole(least=1), doc="After so many deliveries a message becomes a dead letter."),
        "event_limit": Field(kind=Size(), doc="The largest event; 240Ki, what the standard tier takes."),
        "answer": Field(kind=Duration(), doc="How long an answer may take; 30s.", into="answer_s"),
        "websockets": Field(kind=Flag(), doc="Whether to use port 443 in place of 5671."),
        "ca": Field(kind=Located(), doc="A PEM file of the authorities to trust.", into="ca"),
    },
)

BUSES: Mapping[str, Section[Backend]] = {
    "none": _kind("none", "None: dispatchers share the ledger, and nobody else listens. With a ledger on a server."),
    "sqlite": _kind("sqlite", "In the store's SQLite file, for one host."),
    "memory": _kind("memory", "In memory, with ledger and documents."),
    "nats": _NATS,
    "rabbitmq": _RABBIT,
    "servicebus": _SERVICEBUS,
}

BUS = Chosen(sections=BUSES)
