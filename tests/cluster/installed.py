"""Ion's chart as a release on the real cluster, with Ion's image of this checkout, for tests to use.

The servers listen on this machine's loopback, so all pods are in their node's network.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import msgspec
import pytest
from tests.buses.nats_server import NatsServer
from tests.cluster.cluster import Cluster
from tests.cluster.images import busybox_image, ion_image, missing
from tests.deploy.chart import CHART
from tests.ports import free_ports
from tests.stores.postgres_server import PostgresServer
from tests.stores.server import ObjectServer

TOKEN, PASSWORD = "a-token-of-the-front-api", "a-password-of-nats"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A release named `ion` in `namespace`. `folder` holds an admin's certificate; ports are on the loopback."""

    cluster: Cluster
    namespace: str
    folder: Path
    values: dict[str, Any]
    chart: Path
    helm: helm_python.Config

    @property
    def api(self) -> str:
        return f"localhost:{self.values['management']['port']}"

    @property
    def front(self) -> str:
        return f"http://127.0.0.1:{self.values['gateway']['port']}"

    def ion(self, *words: str) -> str:
        """A command as a person types it far from the cluster. Raises CalledProcessError, with what it said."""
        certs = self.folder / "certs"
        options = ("--endpoint", self.api, "--timeout", "60", "--certfile", certs / "clients" / "anna.pem",
                   "--keyfile", certs / "clients" / "anna.key", "--cacertfile", certs / "ca.pem")  # fmt: skip
        return run(self.folder, *map(str, options), *words)

    def kubectl(self, *words: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *words)

    def upgrade(self, values: dict[str, Any], *components: str) -> None:
        """Returns once the new pods of these are ready, and the old ones gone."""
        self.helm.upgrade(self.chart, "ion", values, namespace=self.namespace)
        self.wait(*components)

    def wait(self, *components: str) -> None:
        for component in components:
            self.kubectl("rollout", "status", f"deployment/ion-{component}", "--timeout=300s")

    def pods(self, component: str) -> list[Any]:
        which = f"app.kubernetes.io/name=ion,app.kubernetes.io/component={component}"
        found: list[Any] = json.loads(self.kubectl("get", "pods", "-l", which, "-o", "json"))["items"]
        return found


def run(folder: Path, *words: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ION_")}
    done = subprocess.run(
        [sys.executable, "-m", "ion.cli.main", *words],
        cwd=folder, env=environ | {"HOME": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
        error.add_note(done.stdout + done.stderr)
        raise error
    return done.stdout


@pytest.fixture(scope="module")
def guarded_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats"), f'authorization {{ token: "{PASSWORD}" }}') as server:
        yield server


@pytest.fixture(scope="module")
def installed(
    cluster: Cluster,
    postgres: PostgresServer,
    seaweed: ObjectServer,
    guarded_nats: NatsServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installed]:
    if why := missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    folder = tmp_path_factory.mktemp("installed")
    image = own_image(folder)
    for archive in (folder / "ion.tar", busybox_image()[1]):
        cluster.load(archive)
    run(folder, "certs", "init", "--host", "localhost", "--folder", str(folder / "certs"))
    run(folder, "certs", "client", "--name", "anna", "--role", "admin", "--folder", str(folder / "certs"))
    with cluster.namespace() as namespace:
        values = values_for(image, postgres, seaweed, guarded_nats)
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(certificates(namespace, folder / "certs")))
        with helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=namespace) as helm:
            chart = chart_for(cluster, folder)
            helm.install(chart, "ion", values, namespace=namespace)
            try:
                yield Installed(
                    cluster=cluster, namespace=namespace, folder=folder, values=values, chart=chart, helm=helm
                )
            finally:
                helm.uninstall("ion")


def own_image(folder: Path) -> str:
    """Ion's image in `ion.tar`, under a name that nobody else gives to one of another source meanwhile."""
    name, archive = ion_image()
    name = f"{name.rsplit(':', 1)[0]}:{archive.stem}"
    with tarfile.open(archive) as source, tarfile.open(folder / "ion.tar", "w") as copy:
        for member in source:
            content = source.extractfile(member) if member.isfile() else None
            if member.name == "manifest.json":
                assert content is not None
                manifest = [one | {"RepoTags": [name]} for one in json.load(content)]
                content = io.BytesIO(json.dumps(manifest).encode())
                member.size = len(content.getvalue())
            if member.name != "repositories":
                copy.addfile(member, content)
    return name


def values_for(image: str, postgres: PostgresServer, seaweed: ObjectServer, nats: NatsServer) -> dict[str, Any]:
    """One pod each, for all are in one node's network."""
    api, metrics, front, others = free_ports(4)
    ours, files = postgres.settings(), seaweed.fresh(f"chart-{uuid.uuid4().hex}")
    repository, tag = image.rsplit(":", 1)
    ledger = {"kind": "postgres", "host": "127.0.0.1", "sslmode": "disable"}
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "hostNetwork": True,
        "networkPolicy": {"enabled": False},
        "management": {"port": api, "metricsPort": metrics},
        "gateway": {"replicas": 1, "port": front},
        "dispatchers": {"replicas": 1, "metricsPort": others},
        "tls": {"secret": "certificates"},
        "config": {
            "ledger": ledger | {"port": ours.port, "database": ours.database, "user": ours.user, "schema": ours.schema},
            "bus": {"kind": "nats", "servers": nats.url, "stream": "chart"},
            "blobs": {"kind": "s3", "url": files.url, "endpoint": files.endpoint, "allow_http": True,
                      "access_key_id": files.access_key_id},
            "front": {"tokens": ["${ION_FRONT_TOKEN}"], "host": "127.0.0.1"},
            "management": {"host": "127.0.0.1"},
        },
        "secret": {"values": {"ION_FRONT_TOKEN": TOKEN, "ION_BUS_TOKEN": PASSWORD,
                              "ION_BLOBS_SECRET_ACCESS_KEY": files.secret_access_key}},
    }  # fmt: skip


def chart_for(cluster: Cluster, folder: Path) -> Path:
    """The chart; where the cluster was built to call itself v0.0.0, without the version that it asks for."""
    said = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    if not str(said).startswith("v0."):
        return CHART
    copy = shutil.copytree(CHART, folder / "chart")
    about = (copy / "Chart.yaml").read_text()
    (copy / "Chart.yaml").write_text(re.sub("(?m)^kubeVersion:.*$", "", about))
    return copy


def certificates(namespace: str, folder: Path) -> dict[str, Any]:
    files = {"tls.crt": "server.pem", "tls.key": "server.key", "ca.crt": "ca.pem"}
    data = {key: base64.b64encode((folder / name).read_bytes()).decode() for key, name in files.items()}
    metadata = {"name": "certificates", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
