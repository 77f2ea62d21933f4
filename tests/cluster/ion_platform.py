"""A whole platform around the cluster, as its users have it: NATS, PostgreSQL and an S3 store, Ion's image and modules'
images on the node, and pipelines on all of that.

The servers listen on this machine's loopback, so the pods are in their node's network.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.bus_servers import Nats
from tests.acceptance.conftest import Pipeline
from tests.cluster.cluster import Cluster
from tests.cluster.images import ion_image, media_image, missing
from tests.stores.postgres_server import PostgresServer
from tests.stores.seaweed import Seaweed
from tests.stores.server import lacking

from ion.adapters.blobs.objects_settings import ObjectsSettings
from ion.adapters.postgres.settings import PostgresSettings

MEDIA = Path(__file__).parents[2] / "examples/media"


class Platform:
    """The servers, and a namespace for jobs; `sections` are what a pipeline file says of them."""

    def __init__(
        self, cluster: Cluster, namespace: str, bus: Nats, rows: PostgresSettings, files: ObjectsSettings
    ) -> None:
        self.cluster, self.namespace, self.bus = cluster, namespace, bus
        secret = files.secret_access_key
        self.environ = {**bus.environ, **bus.override, "SECRET_OF_BLOBS": secret, "ION_BLOBS_SECRET_ACCESS_KEY": secret}
        self.sections = f"""
bus: {{{bus.section}}}
ledger: {{kind: postgres, port: {rows.port}, database: {rows.database}, user: {rows.user}, schema: {rows.schema}}}
blobs:
  kind: s3
  url: "{files.url}"
  endpoint: "{files.endpoint}"
  access_key_id: {files.access_key_id}
  secret_access_key: ${{SECRET_OF_BLOBS}}
  role: "{files.role}"
  allow_http: true
front: {{port: 0}}
kubernetes:
  namespace: {namespace}
  kubeconfig: {cluster.kubeconfig}
  hostNetwork: true
  handlerImage: {ion_image()[0]}
"""

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *words)


def media(platform: Platform, more: str = "") -> str:
    """The pipeline of examples/media on this platform, its modules in their image."""
    return f"""
ion: 1
include: {MEDIA / "ion.yaml"}
defaults: {{provider: kubernetes, image: {media_image()[0]}}}
{more}
{platform.sections}
"""


@pytest.fixture
def platform(
    cluster: Cluster, postgres: PostgresServer, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    """One with everything of its own but the servers' processes."""
    if why := missing():
        lacking(why)
    for _, archive in (ion_image(), media_image()):
        cluster.load(archive)
    bus = Nats(tmp_path / "nats")
    try:
        with cluster.namespace() as namespace:
            files = seaweed.role(seaweed.fresh(f"p-{uuid.uuid4().hex}"))
            made = Platform(cluster, namespace, bus, postgres.settings(), files)
            for name, value in made.environ.items():
                monkeypatch.setenv(name, value)
            yield made
    finally:
        bus.close()


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    """A folder of its own for a pipeline file and what its processes keep."""
    folder = tmp_path / "pipeline"
    folder.mkdir()
    made = Pipeline(folder)
    yield made
    made.close()
