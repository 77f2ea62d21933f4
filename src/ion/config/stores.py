"""The kinds of ledger, of documents and of blobs, each with a section of its own.

A further kind is one more entry of a table, with its adapter's settings as the section's `struct`, and its opener in
`ion.wiring`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.mongo.settings import MongoSettings
from ion.adapters.postgres.settings import SSL_MODES, PostgresSettings
from ion.config.backends import Backend, kind_of
from ion.config.kinds import FILLED, Choice, Duration, Flag, Located, Location, Size, Text, Whole
from ion.config.tables import Chosen, Field, Many, Section


def _path(place: Location | None) -> str:
    return place.path if place else ""


def _postgres(
    *, ca: Location | None = None, cert: Location | None = None, key: Location | None = None, **values: Any
) -> PostgresSettings:
    return PostgresSettings(ca=_path(ca), cert=_path(cert), key=_path(key), **values)


_POSTGRES: Mapping[str, Field] = {
    "host": Field(kind=FILLED, doc="The server's name or address, or the folder of its socket."),
    "port": Field(kind=Whole(least=1, most=65_535), doc="Its port."),
    "database": Field(kind=FILLED, doc="The database."),
    "user": Field(kind=FILLED, doc="Who Ion is to the server."),
    "password": Field(kind=FILLED, doc="The user's password: ${VARIABLE}, or ION_LEDGER_PASSWORD."),
    "schema": Field(kind=FILLED, doc="Where the tables are, made when missing; another for each Ion."),
    "sslmode": Field(kind=Choice(words=SSL_MODES), doc="How the line is encrypted, in libpq's words."),
    "ca": Field(kind=Located(), doc="A PEM file of the authorities to trust, with verify-ca and verify-full."),
    "cert": Field(kind=Located(), doc="A PEM file with this client's certificate, with a key."),
    "key": Field(kind=Located(), doc="A PEM file with that certificate's key."),
    "pool_size": Field(kind=Whole(least=1, most=1000), doc="Connections of one process, beside that which listens."),
    "timeout": Field(kind=Duration(), doc="How long an answer may take; 5s.", into="timeout_s"),
}


def _mongodb(*, tls_ca: Location | None = None, tls_cert: Location | None = None, **values: Any) -> MongoSettings:
    return MongoSettings(tls_ca=_path(tls_ca), tls_cert=_path(tls_cert), **values)


_MONGODB: Mapping[str, Field] = {
    "uri": Field(kind=FILLED, doc="A connection string, in place of hosts: ${VARIABLE}, or ION_LEDGER_URI."),
    "hosts": Field(
        kind=Many(item=Text(pattern=r"[^\s/@,]+", wants="HOST:PORT"), single=True),
        doc="Servers of one replica set, or routers of one cluster; 127.0.0.1:27017.",
    ),
    "replica_set": Field(kind=FILLED, doc="The replica set's name."),
    "user": Field(kind=FILLED, doc="Who Ion is to the server."),
    "password": Field(kind=FILLED, doc="The user's password: ${VARIABLE}, or ION_LEDGER_PASSWORD."),
    "auth_source": Field(kind=FILLED, doc="The database that knows the user."),
    "tls": Field(kind=Flag(), doc="Whether the line is encrypted."),
    "tls_ca": Field(kind=Located(), doc="A PEM file of the authorities to trust, in place of the system's."),
    "tls_cert": Field(kind=Located(), doc="A PEM file with this client's certificate and key."),
    "database": Field(kind=FILLED, doc="The database; another for each Ion."),
    "cosmos": Field(kind=Flag(), doc="Whether it is Azure Cosmos DB for MongoDB."),
    "timeout": Field(kind=Duration(), doc="How long an answer may take; 5s.", into="timeout_s"),
    "pool": Field(kind=Whole(least=1, most=1000), doc="Connections of one process."),
    "poll": Field(kind=Duration(), doc="How often to look for what other processes changed; 200ms.", into="poll_s"),
}


def _kept(port: str) -> Mapping[str, Section[Backend]]:
    kind = partial(kind_of, port)
    return {
        "sqlite": kind("sqlite", "In the store's SQLite file, for one host."),
        "memory": kind("memory", "In memory, with the others."),
        "postgres": kind(
            "postgres",
            "PostgreSQL; needs ion-events[postgres].",
            options=_postgres,
            struct=PostgresSettings,
            fields=_POSTGRES,
        ),
        "mongodb": kind(
            "mongodb",
            "MongoDB, or Azure Cosmos DB for MongoDB; needs ion-events[mongodb].",
            options=_mongodb,
            struct=MongoSettings,
            fields=_MONGODB,
        ),
    }


LEDGERS, DOCUMENTS = _kept("ledger"), _kept("documents")
SHARED = ("postgres", "mongodb")
"""Kinds that several hosts may use."""

_AZURE: Mapping[str, Field] = {
    "account": Field(kind=FILLED, doc="The storage account."),
    "account_key": Field(kind=FILLED, doc="Its key: ${VARIABLE}, or ION_BLOBS_ACCOUNT_KEY."),
    "sas": Field(kind=FILLED, doc="A token of the container, in place of it: ${VARIABLE}, or ION_BLOBS_SAS."),
    "token": Field(kind=FILLED, doc="A bearer token, in place of it: ${VARIABLE}, or ION_BLOBS_TOKEN."),
    "hierarchical": Field(
        kind=Flag(), doc="Whether the account has a hierarchical namespace, so that grants can be narrow."
    ),
}
_S3: Mapping[str, Field] = {
    "region": Field(kind=FILLED, doc="The bucket's region."),
    "access_key_id": Field(kind=FILLED, doc="Who Ion is, with a secret_access_key."),
    "secret_access_key": Field(kind=FILLED, doc="Its secret: ${VARIABLE}, or ION_BLOBS_SECRET_ACCESS_KEY."),
    "session_token": Field(kind=FILLED, doc="Of passing credentials: ${VARIABLE}, or ION_BLOBS_SESSION_TOKEN."),
    "role": Field(kind=FILLED, doc="The ARN of the role that is assumed for what runs elsewhere, with less rights."),
    "sts_endpoint": Field(
        kind=FILLED, doc="The URL of who issues these, where it is neither Amazon's nor the endpoint."
    ),
}
_GCS: Mapping[str, Field] = {
    "service_account": Field(kind=Located(), doc="The key file of a service account."),
    "token": Field(kind=FILLED, doc="A bearer token, in place of it: ${VARIABLE}, or ION_BLOBS_TOKEN."),
}
_OBJECTS: Mapping[str, Field] = {
    "endpoint": Field(kind=FILLED, doc="The service's URL, where it is not the vendor's own."),
    "allow_http": Field(kind=Flag(), doc="Whether an endpoint without encryption will do."),
    "ca": Field(kind=Located(), doc="A PEM file of authorities to trust beside the system's."),
    "timeout": Field(kind=Duration(), doc="How long a request may take in all; 60s.", into="timeout_s"),
    "connect_timeout": Field(kind=Duration(), doc="Until it is connected; 5s.", into="connect_timeout_s"),
    "retries": Field(kind=Whole(), doc="How often what may pass by itself is tried again."),
    "retry_for": Field(kind=Duration(), doc="And for how long; 30s.", into="retry_for_s"),
    "part_size": Field(kind=Size(), doc="Larger files are carried in parts of so many bytes; 5Mi."),
    "memory": Field(kind=Size(), doc="Bytes that all transfers of a process hold at most; 64Mi."),
    "at_once": Field(kind=Whole(least=1, most=1000), doc="Requests that a process makes at a time."),
}


def _objects(*, ca: Location | None = None, service_account: Location | None = None, **values: Any) -> ObjectsSettings:
    return ObjectsSettings(ca=_path(ca), service_account=_path(service_account), **values)


def _object_store(kind: str, scheme: str, name: str, own: Mapping[str, Field]) -> Section[Backend]:
    place = Text(pattern=rf"{scheme}://[^\s?#@]+", wants=f"{scheme}://{name}, perhaps with a /PREFIX")
    url = Field(kind=place, doc=f"Which {name.lower()}, and where in it: {scheme}://{name}/PREFIX.")
    return kind_of(
        "blobs",
        kind,
        "Needs ion-events[objects].",
        options=_objects,
        struct=ObjectsSettings,
        fields={"url": url, **own, **_OBJECTS},
        required=("url",),
    )


BLOBS: Mapping[str, Section[Backend]] = {
    "filesystem": kind_of("blobs", "filesystem", "In the store's folder, for one host."),
    "azure": _object_store("azure", "az", "CONTAINER", _AZURE),
    "s3": _object_store("s3", "s3", "BUCKET", _S3),
    "gcs": _object_store("gcs", "gs", "BUCKET", _GCS),
}

LEDGER, DOCUMENT, BLOB = Chosen(sections=LEDGERS), Chosen(sections=DOCUMENTS), Chosen(sections=BLOBS)
