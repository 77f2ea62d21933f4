"""The pipeline file that the chart makes: Ion itself reads it, and it says what the chart was told."""

import re
from pathlib import Path

import msgspec
import pytest
from tests.deploy.chart import SETS, Document, pods, render, values_of

from ion.adapters.deployments.kubernetes.manifest import deployment
from ion.config.load import load_pipeline
from ion.config.settings import Settings
from ion.ports.deployments import Wanted


def loaded(folder: Path, made: dict[tuple[str, str], Document], name: str = "ion") -> Settings:
    """The settings as a process in a pod reads them, with a variable for each that the file names."""
    text: str = made["ConfigMap", name]["data"]["ion.yaml"]
    (folder / "ion.yaml").write_text(text)
    environ = dict.fromkeys(re.findall(r"\$\{(ION_\w+)\}", text), "from-the-secret")
    return load_pipeline(folder / "ion.yaml", environ=environ, settings_only=True).settings


@pytest.mark.parametrize("name", SETS)
def test_ion_reads_what_the_chart_writes(name: str, tmp_path: Path) -> None:
    """Whatever the values; jobs have an account and a handler of the chart's."""
    settings = loaded(tmp_path, render(values_of(name)))
    assert settings.ledger.kind in ("postgres", "mongodb")
    assert settings.kubernetes.service_account == "ion-job"
    assert (
        settings.kubernetes.handler_image == pods(render(values_of(name)))["ion-management"]["containers"][0]["image"]
    )


def test_what_the_values_say_wins(tmp_path: Path) -> None:
    """Key by key over what the chart says by itself; numbers stay whole."""
    config = {"management": {"host": "127.0.0.1"}, "kubernetes": {"slack": "1m", "handlerImage": "acme/ion:1"}}
    values = values_of("external")
    settings = loaded(tmp_path, render(values | {"config": values["config"] | config}))
    assert (settings.management.port, settings.management.host) == (9000, "127.0.0.1")
    assert (settings.kubernetes.slack_s, settings.kubernetes.handler_image) == (60, "acme/ion:1")
    assert settings.front.backlog_most == 1_000_000
    assert settings.front.tokens == ("from-the-secret",)
    assert settings.kubernetes.namespace == "media-jobs"


def test_certificates_are_where_they_are_mounted(tmp_path: Path) -> None:
    """The three files lie in the volume's folder, and the API is served on every address."""
    made = render(values_of("external"))
    served = loaded(tmp_path, made).management
    mounts = pods(made)["ion-management"]["containers"][0]["volumeMounts"]
    (folder,) = (mount["mountPath"] for mount in mounts if mount["name"] == "tls")
    assert {Path(path).parent for path in (served.certificate, served.key, served.ca)} == {Path(folder)}
    assert served.host == "0.0.0.0"


def test_servers_of_the_trial_are_the_ones_that_are_made(tmp_path: Path) -> None:
    """Hosts are names of Services, with the ports that these have."""
    made = render(values_of("trial"))
    settings = loaded(tmp_path, made)
    services = {name for kind, name in made if kind == "Service"}
    assert settings.bus is not None
    assert settings.ledger.options.host in services
    assert settings.bus.options.servers == ("nats://ion-nats:4222",)
    assert settings.blobs.options.endpoint == "http://ion-seaweedfs.media.svc:8333"
    assert {"ion-nats", "ion-seaweedfs"} <= services
    secret = made["Secret", "ion"]["data"]
    assert {"ION_BUS_TOKEN", "ION_LEDGER_PASSWORD", "ION_BLOBS_SECRET_ACCESS_KEY", "ION_FRONT_TOKEN"} == secret.keys()


def test_management_makes_dispatchers_of_what_the_chart_made(tmp_path: Path) -> None:
    """With `perModule`: their account, ConfigMap and Secret are the chart's, and so is where they run."""
    made = render(values_of("full"))
    kubernetes = loaded(tmp_path, made).kubernetes
    said = kubernetes.dispatchers
    assert said is not None
    for kind, name in (
        ("ServiceAccount", said.service_account),
        ("ConfigMap", said.config_map),
        ("Secret", said.secret),
    ):
        assert (kind, name) in made
    assert (said.replicas.min, said.replicas.max, said.per_replica) == (0, 4, 100)
    assert said.figures == "http://ion-management-metrics.media.svc:9464"
    assert {"name": "metrics", "port": 9464, "targetPort": "metrics", "protocol": "TCP"} in (
        made["Service", "ion-management-metrics"]["spec"]["ports"]
    )
    wanted = Wanted(module="detect", replicas=1, most=4, basis="b")
    document = deployment(wanted, kubernetes, said, kubernetes.namespace)
    pod = document["spec"]["template"]["spec"]
    assert pod["tolerations"] == [{"key": "system", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert {"name": "acme", "mountPath": "/etc/acme", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert document["spec"]["template"]["metadata"]["annotations"]["acme/team"] == "media"
    assert kubernetes.namespace == document["metadata"]["namespace"] == "media"
    labels = document["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("NetworkPolicy", "PodDisruptionBudget"):
        spec = made[kind, "ion-dispatcher"]["spec"]
        assert spec.get("podSelector", spec.get("selector"))["matchLabels"].items() <= labels


def test_the_file_holds_no_secret(tmp_path: Path) -> None:
    """What the Secret has is read by every process from its variables."""
    made = render(values_of("trial"))
    settings = loaded(tmp_path, made)
    assert "from-the-secret" not in msgspec.json.encode(settings.ledger).decode()
    for pod in ("ion-management", "ion-gateway", "ion-dispatcher"):
        assert pods(made)[pod]["containers"][0]["envFrom"] == [{"secretRef": {"name": "ion"}}]
