"""Stores on servers for the acceptance tests: a real database and a real object store; secrets come by variables."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_server import PostgresServer, postgres_server
from tests.stores.server import ObjectServer

PAIRS = ["postgres and azure", "mongodb and s3"]


class Elsewhere(msgspec.Struct, frozen=True):
    """`sections`: what a pipeline file says of them. `environ`: their secrets. `kinds`: for `crash.py`."""

    sections: str
    environ: Mapping[str, str]
    kinds: str
    database: Any
    objects: ObjectServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=PAIRS)
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """A schema or database, and a container or prefix, that nobody else has; this process has their secrets."""
    made = {"postgres and azure": _postgres_and_azure, "mongodb and s3": _mongodb_and_s3}[request.param](request)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def _postgres_and_azure(request: pytest.FixtureRequest) -> Elsewhere:
    server: PostgresServer = request.getfixturevalue("postgres")
    azurite: ObjectServer = request.getfixturevalue("azurite")
    ours, files = server.settings(), azurite.fresh(f"a-{uuid.uuid4().hex}")
    sections = f"""
ledger: {{kind: postgres, port: {ours.port}, database: {ours.database}, user: {ours.user}, schema: {ours.schema}}}
blobs: {{kind: azure, url: "{files.url}", endpoint: "{files.endpoint}", account: {files.account}, allow_http: true}}
"""
    return Elsewhere(sections, {"ION_BLOBS_ACCOUNT_KEY": files.account_key}, "postgres", server, azurite)


def _mongodb_and_s3(request: pytest.FixtureRequest) -> Elsewhere:
    server: MongoServer = request.getfixturevalue("mongo_server")
    seaweed: ObjectServer = request.getfixturevalue("seaweed")
    ours, files = server.settings(), seaweed.fresh(f"a-{uuid.uuid4().hex}")
    sections = f"""
ledger: {{kind: mongodb, hosts: "{ours.hosts[0]}", database: {ours.database}}}
blobs:
  kind: s3
  url: "{files.url}"
  endpoint: "{files.endpoint}"
  access_key_id: {files.access_key_id}
  secret_access_key: ${{SECRET_OF_BLOBS}}
  allow_http: true
"""
    secret = files.secret_access_key
    environ = {"SECRET_OF_BLOBS": secret, "ION_BLOBS_SECRET_ACCESS_KEY": secret}
    return Elsewhere(sections, environ, "mongo", server, seaweed)
