"""The chart installed by Helm on the real cluster: pods are ready, and a job runs from end to end."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
from tests.cluster.attempts import until
from tests.cluster.cluster import Cluster
from tests.cluster.images import busybox_image
from tests.cluster.installed import PASSWORD, TOKEN, Installed, chart_for, run
from tests.deploy.chart import values_of
from tests.ports import free_port, free_ports

OF_MODULE = "ion-dispatcher-count"
COMPONENTS = ("management", "gateway", "dispatcher")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FILES = {"file": ("cat.txt", b"miaow")}
MODULE = """
ion: 1
name: media
modules:
  count:
    image: {image}
    command: [sh, -c, 'wc -c < "$ION_DIR/in/data/cat.txt" | tee "$ION_DIR/out/data/size.txt"']
    provider: kubernetes
    on: photo
"""


@pytest.fixture(scope="module")
def ready(installed: Installed) -> Installed:
    installed.wait(*COMPONENTS)
    return installed


@pytest.fixture(scope="module")
def job(ready: Installed) -> str:
    """The id of a job that an event of the front API started, once all of its flow has ended."""
    (ready.folder / "ion.yaml").write_text(MODULE.format(image=busybox_image()[0]))
    ready.ion("apply", "ion.yaml")
    return ran(ready)


def ran(ready: Installed) -> str:
    """Raises an event and waits for its flow; the id of the job."""
    said = httpx.post(f"{ready.front}/events/photo", files=FILES, headers=BEARER, timeout=120)
    assert said.status_code == 200, said.text
    flow = said.json()["context"]["correlationId"]
    ready.ion("flow", "wait", flow, "--timeout", "3m")
    jobs = json.loads(ready.ion("job", "list", "-c", flow, "--json"))
    (found,) = [one for one in jobs if one["module"] == "count"]
    return str(found["id"])


def test_every_pod_becomes_ready(ready: Installed) -> None:
    """And none was started a second time: the probes, the settings and the rights are right."""
    for component in COMPONENTS:
        (pod,) = ready.pods(component)
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_who_has_no_token_raises_no_event(ready: Installed) -> None:
    """The variable in the settings was filled in from the Secret."""
    assert httpx.post(f"{ready.front}/events/photo", files=FILES, timeout=120).status_code == 401


def test_an_event_of_the_front_api_becomes_a_released_job(ready: Installed, job: str) -> None:
    """A module that was applied from afar by an admin's certificate ran in a pod, and its log is there."""
    told = json.loads(ready.ion("job", "show", job, "--json"))
    assert told["state"] == "released"
    assert "5" in ready.ion("job", "logs", job).split()


def test_no_process_lacked_a_right_or_told_a_secret(ready: Installed, job: str) -> None:
    """After the job ran, no log has a refusal of the API server in it."""
    for component in COMPONENTS:
        log = ready.kubectl("logs", f"deployment/ion-{component}")
        assert not re.search("forbidden|Kubernetes refuses|Traceback", log), log
        assert TOKEN not in log
        assert PASSWORD not in log


def test_figures_are_told_where_the_monitor_looks(ready: Installed) -> None:
    """At the port named `metrics` of management and dispatchers."""
    for component in ("management", "dispatcher"):
        (pod,) = ready.pods(component)
        (port,) = [one for one in pod["spec"]["containers"][0]["ports"] if one["name"] == "metrics"]
        page = httpx.get(f"http://127.0.0.1:{port['containerPort']}/metrics", timeout=120).text
        assert "ion_ledger_up 1.0" in page


def test_an_upgrade_gives_each_module_dispatchers_of_its_own(ready: Installed, job: str) -> None:
    """With `perModule` management makes a Deployment of what the chart tells it, by the rights that the chart gives."""
    helm_values = ready.values | {"dispatchers": {"perModule": True, "max": 1}}
    helm_values["config"] = ready.values["config"] | {"kubernetes": {"dispatchers": at_port(*free_ports(1))}}
    ready.upgrade(helm_values, "management", "gateway")
    ready.kubectl("wait", "--for=delete", "deployment/ion-dispatcher", "--timeout=300s")
    asyncio.run(until(lambda: ready.cluster.succeeds("-n", ready.namespace, "get", "deployment", OF_MODULE)))
    ready.kubectl("rollout", "status", f"deployment/{OF_MODULE}", "--timeout=300s")
    second = ran(ready)
    assert second != job
    assert json.loads(ready.ion("job", "show", second, "--json"))["state"] == "released"
    log = ready.kubectl("logs", "deployment/ion-management")
    assert not re.search("forbidden|Kubernetes refuses|Traceback", log), log


def at_port(port: int) -> dict[str, Any]:
    """Dispatchers of modules listen on one port each, which in a node's network has to be free there."""
    container = {
        "name": "dispatcher",
        "imagePullPolicy": "Never",
        "env": [{"name": "ION_METRICS_PORT", "value": str(port)}],
        "ports": [{"$patch": "replace"}, {"name": "metrics", "containerPort": port, "protocol": "TCP"}],
    }
    return {"podTemplate": {"spec": {"containers": [container]}}}


def test_without_certificates_the_api_is_reached_by_port_forward(ready: Installed, job: str) -> None:
    """Its probes find it well; a tunnel ends as root in the pod, who is let in."""
    ready.upgrade(ready.values | without_certificates(ready.values), "management")
    port = free_port()
    command = ("kubectl", f"--kubeconfig={ready.cluster.kubeconfig}", "-n", ready.namespace, "port-forward",
               "deployment/ion-management", f"{port}:{ready.values['management']['port']}")  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tunnel:
        try:
            assert tunnel.stdout is not None
            assert "Forwarding from 127.0.0.1" in tunnel.stdout.readline()
            listed = run(ready.folder, "--endpoint", f"localhost:{port}", "--timeout", "60", "module", "list")
        finally:
            tunnel.terminate()
    assert "count" in listed


def without_certificates(values: dict[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in values["config"].items() if key != "management"}
    return {"tls": {"secret": ""}, "config": config}


def test_passwords_of_the_trial_outlast_upgrade_and_release(cluster: Cluster, tmp_path: Path) -> None:
    """They are made once: a server keeps the one that it began with, as do its volumes. No pod is needed to see it."""

    def kept() -> dict[str, str]:
        found: dict[str, str] = json.loads(cluster.kubectl("-n", name, "get", "secret", "ion", "-o", "json"))["data"]
        return found

    chart, values = chart_for(cluster, tmp_path), values_of("trial") | {"podDisruptionBudget": {"enabled": False}}
    for component in COMPONENTS:
        values[f"{component}s" if component == "dispatcher" else component] = {"replicas": 0}
    with (
        cluster.namespace() as name,
        helm_python.Config(kubeconfig_path=cluster.kubeconfig, namespace=name) as helm,
    ):
        helm.install(chart, "ion", values, namespace=name)
        before = kept()
        helm.upgrade(chart, "ion", values | {"secret": {"values": {"ION_FRONT_TOKEN": "another"}}}, namespace=name)
        after = kept()
        helm.uninstall("ion")
        assert not cluster.succeeds("-n", name, "get", "configmap", "ion")
        helm.install(chart, "ion", values, namespace=name)
        again = kept()
        helm.uninstall("ion")
    assert again == before
    assert before.pop("ION_FRONT_TOKEN") != after.pop("ION_FRONT_TOKEN")
    assert before == after
    assert len(set(before.values())) == 3
