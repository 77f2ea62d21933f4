"""The values that Terraform gives to Ion's chart: it takes them, and Ion reads what comes of them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.deploy.chart import Document, of_kind, pods, render
from tests.deploy.terraform import Applied
from tests.deploy.test_chart_config import loaded
from tests.deploy.test_chart_values import over

from ion.adapters.executors.kubernetes.pod import job_body
from ion.config.settings import Settings
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.model.module import Module, revise
from ion.ports.executor import Assignment

BATCH = "azurebatch" in {field.name for field in msgspec.structs.fields(Settings)}
WORKLOAD = "azure.workload.identity"


def values(applied: Applied) -> Document:
    """As Helm lays the texts over each other. What a version of Ion without Batch does not know is left out."""
    found: Document = {}
    for text in applied.one("helm_release.ion")["values"]:
        found = over(found, yaml.safe_load(text))
    if not BATCH:
        found["config"].pop("azurebatch", None)
    return found


def made(applied: Applied) -> dict[tuple[str, str], Document]:
    release = applied.one("helm_release.ion")
    return render(values(applied), name=release["name"], namespace=release["namespace"])


@pytest.fixture(params=["applied", "keyed"])
def either(request: pytest.FixtureRequest) -> Applied:
    """With identities, or with a key."""
    found: Applied = request.getfixturevalue(request.param)
    return found


def test_ion_reads_what_comes_of_them(either: Applied, tmp_path: Path) -> None:
    """The chart's schema takes them, it refuses nothing, and the file that it makes loads."""
    settings = loaded(tmp_path, made(either))
    assert (settings.ledger.kind, settings.blobs.kind) == ("mongodb", "azure")
    assert settings.bus is not None
    assert settings.bus.kind == "servicebus"
    assert settings.front.tokens == ("from-the-secret",)


def test_services_are_where_terraform_made_them(applied: Applied, tmp_path: Path) -> None:
    """By the names of their resources."""
    settings = loaded(tmp_path, made(applied))
    account = applied.one("azurerm_cosmosdb_account.ion")["name"]
    ledger = settings.ledger.options
    assert (ledger.hosts, ledger.user) == ((f"{account}.mongo.cosmos.azure.com:10255",), account)
    assert (ledger.cosmos, ledger.tls, ledger.replica_set, ledger.uri) == (True, True, "globaldb", "")
    assert ledger.database == applied.one("azurerm_cosmosdb_mongo_database.ion")["name"]
    assert settings.blobs.options.account == applied.one("azurerm_storage_account.ion")["name"]
    assert settings.blobs.options.bucket == applied.one("azurerm_storage_container.ion")["name"]
    assert settings.bus is not None
    bus = applied.one("azurerm_servicebus_namespace.ion")["endpoint"]
    assert f"https://{settings.bus.options.namespace}:443/" == bus


def test_premium_takes_larger_events(applied: Applied, keyed: Applied, tmp_path: Path) -> None:
    """A message of a megabyte with its headers, in place of a quarter of that."""
    premium, standard = (loaded(tmp_path, made(one)).bus for one in (keyed, applied))
    assert premium is not None
    assert standard is not None
    assert (standard.options.event_limit, premium.options.event_limit) == (245_760, 983_040)


@pytest.mark.skipif(not BATCH, reason="this version of Ion has no Azure Batch")
def test_batch_is_the_pool_that_was_made(applied: Applied, tmp_path: Path) -> None:
    """With the identity that its nodes have, and Ion's image as handler."""
    settings: Any = loaded(tmp_path, made(applied))
    pool = applied.one('azurerm_batch_pool.ion["pool"]')
    account = applied.one('azurerm_batch_account.ion["pool"]')
    said = settings.azurebatch
    assert (said.url, said.name) == (f"https://{account['account_endpoint']}", account["name"])
    assert (said.pool, said.key, [said.identity]) == (pool["name"], "", pool["identity"][0]["identity_ids"])
    assert said.handler_image in pool["container_configuration"][0]["container_image_names"]


def test_every_account_with_an_identity_is_one_that_azure_trusts(applied: Applied) -> None:
    """The federated credentials name the accounts of the chart's pods and of jobs, no others."""
    trusted = {one["subject"]: one for one in applied.of("azurerm_federated_identity_credential").values()}
    charts = of_kind(made(applied), "ServiceAccount")
    job = applied.one("kubernetes_service_account_v1.job")["metadata"][0]
    named = {f"system:serviceaccount:ion:{name}" for name in charts}
    assert trusted.keys() == named | {f"system:serviceaccount:{job['namespace']}:{job['name']}"}
    clients = {account["metadata"]["annotations"][f"{WORKLOAD}/client-id"] for account in charts.values()}
    assert clients == {applied.one('azurerm_user_assigned_identity.ion["ion"]')["client_id"]}
    jobs = applied.one('azurerm_user_assigned_identity.ion["jobs"]')
    assert job["annotations"] == {f"{WORKLOAD}/client-id": jobs["client_id"]}
    for subject, one in trusted.items():
        whose = "jobs" if subject.endswith("ion-job") else "ion"
        assert one["user_assigned_identity_id"] == applied.one(f'azurerm_user_assigned_identity.ion["{whose}"]')["id"]
        assert one["audience"] == ["api://AzureADTokenExchange"]
        assert one["issuer"] == applied.one("azurerm_kubernetes_cluster.ion")["oidc_issuer_url"]


def test_pods_of_ion_ask_for_their_identity(applied: Applied) -> None:
    """The label by which the cluster gives them a token."""
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for name, one in of_kind(made(applied), "Deployment").items()
    }
    assert len(labels) == 3
    assert all(one[f"{WORKLOAD}/use"] == "true" for one in labels.values())


def job(applied: Applied, folder: Path) -> Document:
    """The pod of a module's attempt."""
    module = Module(name="detect", image="acme/detect:1", provider="kubernetes")
    event = Event(id="e", type="photo", source="s", correlation_id="c", parent_id="p", time=utc_now())
    assignment = Assignment(job=Job(id="j", module="detect", event=event, attempt=1), revision=revise(module))
    found: Document = job_body(assignment, loaded(folder, made(applied)).cluster)["spec"]["template"]
    return found


def test_a_module_has_no_part_in_the_identity_of_its_job(applied: Applied, tmp_path: Path) -> None:
    """Prepare and commit get the token; the container `module`, which there is, is left out."""
    pod = job(applied, tmp_path)
    assert pod["metadata"]["labels"][f"{WORKLOAD}/use"] == "true"
    (skipped,) = pod["metadata"]["annotations"][f"{WORKLOAD}/skip-containers"].split(";")
    assert skipped in [one["name"] for one in pod["spec"]["initContainers"]]
    assert skipped == "module"
    account = applied.one("kubernetes_service_account_v1.job")["metadata"][0]
    assert (pod["spec"]["serviceAccountName"], account["namespace"]) == (account["name"], "ion-jobs")


def test_with_a_key_jobs_are_nobody(keyed: Applied, tmp_path: Path) -> None:
    """What an attempt may do is in its grant."""
    pod = job(keyed, tmp_path)
    assert f"{WORKLOAD}/use" not in pod["metadata"]["labels"]
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_no_node_is_taken_away_from_under_a_job(either: Applied, tmp_path: Path) -> None:
    """The cluster's autoscaler moves pods off nodes that have little to do."""
    annotations = job(either, tmp_path)["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


@pytest.mark.parametrize("name", ["applied", "keyed"])
def test_jobs_run_on_their_nodes(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Their selector finds the pool's labels, and they bear its taints."""
    applied: Applied = request.getfixturevalue(name)
    pod, nodes = job(applied, tmp_path), applied.one("azurerm_kubernetes_cluster_node_pool.jobs")
    assert pod["spec"]["nodeSelector"].items() <= nodes["node_labels"].items()
    borne = {one["key"] for one in pod["spec"].get("tolerations", [])}
    assert {taint.split("=")[0] for taint in nodes["node_taints"] or []} == borne
    assert nodes["min_count"] == 0


def test_nothing_but_jobs_comes_onto_their_nodes(either: Applied) -> None:
    """Ion's own pods want the others: a node of jobs that one of them were on would not go when jobs have ended."""
    jobs = either.one("azurerm_kubernetes_cluster_node_pool.jobs")["node_labels"].items()
    (ours,) = either.one("azurerm_kubernetes_cluster.ion")["default_node_pool"]
    for name, pod in pods(made(either)).items():
        wanted = pod["nodeSelector"].items()
        assert wanted <= ours["node_labels"].items(), name
        assert not wanted <= jobs, name


def test_the_management_api_is_at_its_name(applied: Applied) -> None:
    """A load balancer with that label; the certificate has the name; callers are those who are let in."""
    service = of_kind(made(applied), "Service")["ion-management"]
    fqdn = applied.outputs["ion_fqdn"]["value"]
    said = service["metadata"]["annotations"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert fqdn.split(".")[0] == said["service.beta.kubernetes.io/azure-dns-label-name"]
    assert said["service.beta.kubernetes.io/azure-allowed-ip-ranges"] == "203.0.113.7/32"
    assert fqdn in applied.one("tls_cert_request.server")["dns_names"]
    (rule, *_) = of_kind(made(applied), "NetworkPolicy")["ion-management"]["spec"]["ingress"]
    assert rule["from"][0] == {"ipBlock": {"cidr": "203.0.113.7/32"}}


def test_jobs_without_network_reach_their_blobs(either: Applied) -> None:
    """The endpoints' subnet; with identities also where tokens are given out, or they could not say who they are."""
    (names, blobs) = of_kind(made(either), "NetworkPolicy")["ion-jobs"]["spec"]["egress"]
    assert names["ports"][0]["port"] == 53
    subnet = either.one('azurerm_subnet.ion["endpoints"]')["address_prefixes"][0]
    login = (
        ["20.20.32.0/19", "40.126.0.0/18"]
        if either.one("azurerm_storage_account.ion")["shared_access_key_enabled"] is False
        else []
    )
    assert [peer["ipBlock"]["cidr"] for peer in blobs["to"]] == [subnet, *login]
    assert blobs["ports"] == [{"port": 443, "protocol": "TCP"}]


def test_what_the_chart_takes_is_what_terraform_made(either: Applied) -> None:
    """The Secrets have the names and the keys that pods look for, in Ion's namespace."""
    pod = pods(made(either))["ion-management"]
    secrets = {one["metadata"][0]["name"]: one for one in either.of("kubernetes_secret_v1").values()}
    (connections,) = pod["containers"][0]["envFrom"]
    (tls,) = (volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "tls")
    assert secrets.keys() == {connections["secretRef"]["name"], tls}
    assert secrets[tls]["data"].keys() == {"tls.crt", "tls.key", "ca.crt"}
    assert {one["metadata"][0]["namespace"] for one in secrets.values()} == {
        either.one("helm_release.ion")["namespace"]
    }


def test_what_you_say_wins(keyed: Applied) -> None:
    """Values of one's own are laid over Terraform's."""
    assert of_kind(made(keyed), "Deployment")["ion-gateway"]["spec"]["replicas"] == 3
