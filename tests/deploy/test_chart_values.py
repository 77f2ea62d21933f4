"""What values the chart refuses, and in which words."""

import re
from typing import Any

import pytest
from helm_python import HelmError
from tests.deploy.chart import CHART, Document, render, values_of

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.bus.nats_settings import NatsSettings
from ion.adapters.bus.rabbitmq_settings import RabbitSettings
from ion.adapters.bus.servicebus_settings import ServiceBusSettings
from ion.adapters.executors.azurebatch.settings import BatchSettings
from ion.adapters.mongo.settings import MongoSettings
from ion.adapters.postgres.settings import PostgresSettings


def over(under: Document, patch: Document) -> Document:
    """As Helm lays values over values."""
    merged = dict(under)
    for key, value in patch.items():
        merged[key] = (
            over(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
        )
    return merged


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"managment": {}}, "'managment' not allowed"),
        ({"management": {"replicas": "2"}}, "'/management/replicas': got string, want integer"),
        ({"management": {"pod": {"nodeselector": {}}}}, "'nodeselector' not allowed"),
        ({"secret": {"values": {"password": "x"}}}, "'password' does not match pattern '^ION_"),
        ({"tls": {"certManager": {"enabled": True}}}, "'/tls/certManager/issuer/name'"),
        ({"gateway": {"ingress": {"enabled": True}}}, "'/gateway/ingress/host'"),
        ({"gateway": {"port": 70_000}}, "'/gateway/port': maximum: got 70,000, want 65,535"),
        ({"dispatchers": {"min": 2}}, "'/dispatchers/min': maximum: got 2, want 1"),
        ({"image": {"digest": "latest"}}, "'latest' does not match pattern"),
        ({"image": {"pullPolicy": "Sometimes"}}, "'/image/pullPolicy'"),
        ({"networkPolicy": {"blobs": [{"cidr": "10.0.0.7/32"}]}}, "'cidr' not allowed"),
        ({"trial": {"nats": {"size": "much"}}}, "'/trial/nats/size'"),
    ],
)
def test_the_schema_names_the_place_and_what_is_wrong_with_it(patch: Document, said: str) -> None:
    """Before anything is rendered."""
    with pytest.raises(HelmError, match=re.escape(said)):
        render(over(values_of("external"), patch))


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"config": {"ledger": {"kind": "sqlite"}}}, "config.ledger is sqlite, which pods cannot share"),
        ({"config": {"blobs": {"kind": "filesystem"}}}, "config.blobs is filesystem, which pods cannot share"),
        ({"config": {"modules": {"detect": {}}}}, "config.modules cannot stand here"),
        ({"config": {"front": {"tokens": []}}}, "config.front.tokens is empty"),
        ({"secret": {"values": {"ION_BUS_TOKEN": "x"}}}, "secret.existing and secret.values are both set"),
        ({"trial": {"nats": {"enabled": True}}}, "secret.existing cannot be used with trial servers"),
        ({"tls": {"certManager": {"enabled": True, "issuer": {"name": "acme"}}}}, "choose one"),
        (
            {"tls": {"secret": "", "certManager": {"enabled": True, "issuer": {"name": "acme"}}}},
            "whoever has a certificate of that issuer would be an admin",
        ),
        ({"dispatchers": {"perModule": True}}, "leave jobs.namespace empty"),
        ({"dispatchers": {"keda": True}}, "set dispatchers.perModule as well"),
        ({"networkPolicy": {"blobs": []}}, "networkPolicy.blobs is empty"),
        ({"config": {"kubernetes": {"namespace": "other"}}}, "set jobs.namespace instead"),
        ({"config": {"management": {"port": 8080}}}, "config.management.port is not management.port"),
        (
            {"config": {"management": {"metrics_port": 8080}}},
            "config.management.metrics_port is not management.metrics",
        ),
        ({"config": {"ledger": {"password": "hunter2"}}}, "config.ledger.password is a secret"),
        (
            {"config": {"ledger": {"kind": "mongodb", "uri": "mongodb://ion:hunter2@db"}}},
            "config.ledger.uri is a secret",
        ),
        ({"config": {"front": {"tokens": ["${ION_FRONT_TOKEN}", "hunter2"]}}}, "config.front.tokens is a secret"),
        ({"management": {"service": {"type": "LoadBalancer"}}}, "pods of this namespace alone would be let in"),
        (
            {"management": {"service": {"type": "NodePort"}}, "tls": {"secret": ""}},
            "management.service.type is NodePort, but without certificates the API is on its pod's loopback",
        ),
    ],
)
def test_what_could_never_run_is_refused_with_what_to_do(patch: Document, said: str) -> None:
    """A sentence in place of pods that start over and over."""
    with pytest.raises(HelmError, match=re.escape(said)):
        render(over(values_of("external"), patch))


@pytest.mark.parametrize(
    "config",
    [
        {"ledger": {"password": "${ION_LEDGER_PASSWORD}"}},
        {"ledger": {"kind": "mongodb", "uri": "mongodb://db.acme/?replicaSet=ion"}},
        {"management": {"port": 9000, "metrics_port": 9464}},
        {"kubernetes": {"namespace": "media-jobs"}},
        {"bus": None, "documents": None},
    ],
)
def test_what_is_no_secret_and_what_is_the_same_may_stand_there(config: Document) -> None:
    """A reference, an address, a value that the chart has as well."""
    assert render(over(values_of("external"), {"config": config}))


def test_every_secret_of_the_settings_is_refused() -> None:
    """What they mask, in the sections of the pipeline file."""
    kinds = {
        "ledger": (PostgresSettings, MongoSettings),
        "bus": (NatsSettings, ServiceBusSettings, RabbitSettings),
        "blobs": (ObjectsSettings,),
        "azurebatch": (BatchSettings,),
    }
    for section, settings in kinds.items():
        for key in {key for one in settings for key in one.secrets}:
            config = {section: {key: "https://ion:hunter2@acme"}}
            with pytest.raises(HelmError, match=rf"config\.{section}\.{key} is a secret"):
                render(over(values_of("external"), {"config": config}))


def test_no_values_say_what_is_missing() -> None:
    """The first thing: a ledger."""
    with pytest.raises(HelmError, match=r"config\.ledger is sqlite"):
        render({})


def keys(values: Any, path: str = "") -> set[str]:
    if not isinstance(values, dict) or not values:
        return {path}
    return {key for name, value in values.items() for key in keys(value, f"{path}.{name}")}


def test_the_schema_knows_every_default_and_no_more() -> None:
    """A value that has no default is one that nobody finds."""
    import json

    import yaml

    def known(schema: Document, path: str = "") -> set[str]:
        if not (properties := schema.get("properties")):
            return {path}
        return {key for name, one in properties.items() for key in known(one, f"{path}.{name}")}

    defaults = keys(yaml.safe_load((CHART / "values.yaml").read_text()))
    schema = known(json.loads((CHART / "values.schema.json").read_text()))
    free = (".pod.", ".resources.", ".global")
    assert {key for key in schema if not any(one in f"{key}." for one in free)} == {
        key for key in defaults if not any(one in f"{key}." for one in free)
    }
