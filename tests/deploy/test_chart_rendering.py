"""What the chart makes of its values, over several sets of them and versions of Kubernetes."""

import helm_python
import pytest
from tests.deploy.chart import CHART, NEWEST, OLDEST, SETS, Document, of_kind, pods, render, values_of

VERSIONS = pytest.mark.parametrize("kube_version", [OLDEST, NEWEST])
EVERY = pytest.mark.parametrize("name", SETS)
OWN = {"ion-management", "ion-gateway", "ion-dispatcher"}


@VERSIONS
@pytest.mark.parametrize("values", [{}, *map(values_of, SETS)], ids=["none", *SETS])
def test_helm_finds_nothing_to_complain_of(values: Document, kube_version: str) -> None:
    """`helm lint --strict` says no more than that there is no icon."""
    report = helm_python.lint(CHART, values, strict=True, kube_version=kube_version)
    assert report["errors"] == []
    assert [one["error"] for one in report["messages"]] == ["icon is recommended"]


@EVERY
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    """No root, no capability, no writable root, the run-time's seccomp profile; requests, and a limit of memory."""
    for pod in pods(render(values_of(name))).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


@EVERY
def test_only_who_speaks_to_the_api_server_has_a_token(name: str) -> None:
    """The dispatcher has one, the management process if it makes dispatchers; nobody else, and no account by itself."""
    values = values_of(name)
    made = render(values)
    may = {"ion-dispatcher", "ion-management"} if values.get("dispatchers", {}).get("perModule") else {"ion-dispatcher"}
    for pod_name, pod in pods(made).items():
        assert pod["automountServiceAccountToken"] == (pod_name in may)
    assert not any(one["automountServiceAccountToken"] for one in of_kind(made, "ServiceAccount").values())


@EVERY
def test_every_server_is_probed_and_may_be_moved(name: str) -> None:
    """Three probes each; a budget selects exactly the pods of each."""
    made = render(values_of(name))
    for pod_name, pod in pods(made).items():
        if pod_name in OWN:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= pod["containers"][0].keys()
    for budget, one in of_kind(made, "PodDisruptionBudget").items():
        assert one["spec"]["maxUnavailable"] == 1
        if ("Deployment", budget) in made:
            labels = made["Deployment", budget]["spec"]["template"]["metadata"]["labels"].items()
            assert one["spec"]["selector"]["matchLabels"].items() <= labels


@EVERY
def test_services_lead_to_ports_that_their_pods_have(name: str) -> None:
    """Selector and port's name fit one of the pods' templates."""
    made = render(values_of(name))
    templates = [one["spec"]["template"] for (kind, _), one in made.items() if kind in ("Deployment", "StatefulSet")]
    for service in of_kind(made, "Service").values():
        wanted = service["spec"]["selector"].items()
        chosen = [one for one in templates if wanted <= one["metadata"]["labels"].items()]
        assert len(chosen) == 1
        ports = {port["name"] for port in chosen[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@EVERY
def test_what_a_pod_mounts_or_reads_is_there_or_was_named(name: str) -> None:
    """ConfigMaps, Secrets and accounts are the chart's own, or stand in the values."""
    values = values_of(name)
    made = render(values)
    for pod in pods(made).values():
        for volume in pod["volumes"]:
            if config := volume.get("configMap", {}).get("name"):
                assert ("ConfigMap", config) in made or config in str(values)
            if secret := volume.get("secret", {}).get("secretName"):
                named = ("Secret", secret) in made or ("Certificate", secret) in made
                assert named or secret in str(values)
        for source in pod["containers"][0].get("envFrom", []):
            secret = source["secretRef"]["name"]
            assert ("Secret", secret) in made or secret in str(values)
        if account := pod.get("serviceAccountName"):
            assert ("ServiceAccount", account) in made
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert {volume["name"] for volume in pod["volumes"]} <= mounted


def test_no_secret_stands_outside_of_secrets() -> None:
    """A value of the Secret is in no other object."""
    values = values_of("trial") | {"secret": {"values": {"ION_FRONT_TOKEN": "a-token-of-mine"}}}
    made = render(values)
    assert "ION_FRONT_TOKEN" in made["Secret", "ion"]["data"]
    assert not any("a-token-of-mine" in str(one) for one in made.values())


@pytest.mark.parametrize(
    ("kube_version", "wanted"),
    [("v1.20.2", "policy/v1beta1"), ("v1.21.0", "policy/v1"), ("v1.21.0-gke.100", "policy/v1"), (NEWEST, "policy/v1")],
)
def test_budgets_are_of_the_version_that_the_cluster_has(kube_version: str, wanted: str) -> None:
    """`policy/v1` came with 1.21."""
    made = render(values_of("external"), kube_version=kube_version)
    assert {one["apiVersion"] for one in of_kind(made, "PodDisruptionBudget").values()} == {wanted}


def test_one_plain_deployment_dispatches_unless_each_module_has_its_own() -> None:
    """With `perModule` the management process gets what it makes them of, and the rights to."""
    plain, each = render(values_of("external")), render(values_of("full"))
    assert pods(plain)["ion-dispatcher"]["containers"][0]["args"][:3] == ["dispatcher", "start", "/etc/ion/ion.yaml"]
    assert ("Role", "ion-management") not in plain
    assert ("Deployment", "ion-dispatcher") not in each
    assert ("ServiceAccount", "ion-dispatcher") in each
    resources = {resource for rule in each["Role", "ion-management"]["rules"] for resource in rule["resources"]}
    assert resources == {"deployments", "pods", "configmaps", "secrets", "scaledobjects"}


def test_the_dispatchers_rights_are_where_jobs_are() -> None:
    """Role, binding, the jobs' account and policies are in `jobs.namespace`; the binding names an account here."""
    made = render(values_of("external"), namespace="control")
    for key in (("Role", "ion-dispatcher"), ("RoleBinding", "ion-dispatcher"), ("ServiceAccount", "ion-job"),
                ("NetworkPolicy", "ion-jobs"), ("NetworkPolicy", "ion-jobs-network")):  # fmt: skip
        assert made[key]["metadata"]["namespace"] == "media-jobs"
    subject = {"kind": "ServiceAccount", "name": "ion-dispatcher", "namespace": "control"}
    assert made["RoleBinding", "ion-dispatcher"]["subjects"] == [subject]
    assert made["ServiceAccount", "ion-dispatcher"]["metadata"]["namespace"] == "control"


def test_the_api_with_certificates_is_served_to_the_namespace() -> None:
    """Certificates are mounted in the management process alone; cert-manager is asked for the Service's names."""
    made = render(values_of("full"))
    assert made["Certificate", "ion-tls"]["spec"]["secretName"] == "ion-tls"
    assert {"ion-management.media.svc", "localhost", "ion.acme"} <= set(
        made["Certificate", "ion-tls"]["spec"]["dnsNames"]
    )
    holders = {name for name, pod in pods(made).items() if any(v["name"] == "tls" for v in pod["volumes"])}
    assert holders == {"ion-management"}
    assert pods(made)["ion-management"]["containers"][0]["readinessProbe"]["tcpSocket"] == {"port": "grpc"}


def test_the_api_without_certificates_is_on_no_service() -> None:
    """It listens on its pod's loopback, where the node's probes do not come: they look at the figures' port."""
    made = render(values_of("trial"))
    assert [port["name"] for port in made["Service", "ion-management"]["spec"]["ports"]] == ["metrics"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        looked = pods(made)["ion-management"]["containers"][0][probe]["httpGet"]
        assert looked == {"path": "/livez", "port": "metrics"}


def test_figures_are_not_where_the_api_is_reached_from_outside() -> None:
    """They have a Service of their own, inside of the cluster; KEDA asks there."""
    made = render(values_of("full"))
    assert [port["name"] for port in made["Service", "ion-management"]["spec"]["ports"]] == ["grpc"]
    figures = made["Service", "ion-management-metrics"]["spec"]
    assert "type" not in figures
    assert [port["name"] for port in figures["ports"]] == ["metrics"]
    assert "figures: http://ion-management-metrics.media.svc:9464" in made["ConfigMap", "ion"]["data"]["ion.yaml"]
    inside = values_of("full") | {"management": {"service": {"type": "ClusterIP"}}}
    assert "figures: http://ion-management.media.svc:9464" in render(inside)["ConfigMap", "ion"]["data"]["ion.yaml"]


def test_the_trials_passwords_last_as_long_as_its_volumes() -> None:
    """A release that is made anew finds its database in them, which knows the password that it was made with."""
    values = values_of("trial")
    kept = render(values)["Secret", "ion"]["metadata"]["annotations"]
    assert kept == {"helm.sh/resource-policy": "keep"}
    gone = values | {"trial": values["trial"] | {"persistent": False}}
    assert "annotations" not in render(gone)["Secret", "ion"]["metadata"]
    assert "annotations" not in render(values_of("full"))["Secret", "ion"]["metadata"]


def test_a_change_of_settings_or_secrets_starts_pods_anew() -> None:
    """Their template changes with each, and not without."""

    def templates(values: Document) -> Document:
        return {name: one["spec"]["template"] for name, one in of_kind(render(values), "Deployment").items()}

    values = values_of("trial")
    assert templates(values) == templates(values)
    config = values | {"config": values["config"] | {"retention": {"logs": "1d"}}}
    for other in (config, values | {"secret": {"values": {"ION_FRONT_TOKEN": "another"}}}):
        changed = templates(other)
        assert all(changed[name] != one for name, one in templates(values).items())


def test_the_nodes_network_is_used_if_asked_for() -> None:
    """Ion's pods and jobs are in it, and a new pod waits for the old one's port."""
    made = render(values_of("external") | {"hostNetwork": True})
    for name, one in of_kind(made, "Deployment").items():
        assert pods(made)[name]["hostNetwork"]
        assert one["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "hostNetwork: true" in made["ConfigMap", "ion"]["data"]["ion.yaml"]


@pytest.mark.parametrize(("release", "name"), [("ion", "ion"), ("ion-media", "ion-media"), ("media", "media-ion")])
def test_two_releases_share_no_name(release: str, name: str) -> None:
    """Names and selectors begin with the release's; its jobs are told from those of another."""
    made = render(values_of("external"), name=release)
    assert all(key.startswith(name) for _, key in made)
    assert f"instance: {name}\n" in made["ConfigMap", name]["data"]["ion.yaml"]
    assert made["NetworkPolicy", f"{name}-jobs"]["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "ion",
        "app.kubernetes.io/component": "job",
        "app.kubernetes.io/instance": name,
    }


def test_the_chart_is_of_the_version_of_ion() -> None:
    """A chart without `image.tag` runs the Ion that it came with."""
    from ion import __version__

    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == chart.version == __version__
