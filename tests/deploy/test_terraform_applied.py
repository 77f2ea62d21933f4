"""What Terraform makes of the configuration, with stand-ins that know the providers' documented arguments."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from tests.deploy.terraform import LEAST, Applied, Deployment

ORIGINAL = {"ion_fqdn", "ion_ca", "ion_client_cert", "ion_client_key", "kubeconfig"}
CONTAINER = "/storageAccounts/{}/blobServices/default/containers/ion"


def roles(applied: Applied) -> set[tuple[str, str, str]]:
    """Who may do what, where: names are without what all have."""
    suffix = applied.one("azurerm_resource_group.ion")["name"].removeprefix("acme-")
    return {
        (
            one["principal_id"].removeprefix("principal-of-").removeprefix(f"acme-{suffix}-"),
            one["role_definition_name"],
            one["scope"].replace(f"acme-{suffix}", "*").replace(f"acme{suffix}", "*"),
        )
        for one in applied.of("azurerm_role_assignment").values()
    }


def secret(applied: Applied) -> Mapping[str, str]:
    found: Mapping[str, str] = applied.one("kubernetes_secret_v1.connections")["data"]
    return found


def test_it_is_made_kept_and_taken_down(terraform: Deployment, applied: Applied) -> None:
    """Terraform accepts every argument, resolves every reference, has nothing left to do, and can undo all of it."""
    assert len(applied.resources) > 50
    terraform.apply()
    assert terraform.planned() == {}
    managed = [address for address in applied.resources if not address.startswith("data.")]
    assert f" {len(managed)} destroyed." in terraform.destroy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('resource "azurerm_subnet" "x" { name = "x" }', 'The argument "resource_group_name" is required'),
        ('data "azurerm_network_service_tags" "x" { locaton = "x" }', 'An argument named "locaton" is not expected'),
        ('output "x" { value = azurerm_batch_pool.ion["pool"].sice }', "has no argument, nested block, or exported"),
        ('output "x" { value = azurerm_batch_pool.gpu.id }', "has not been declared"),
    ],
)
def test_mistakes_are_found(terraform: Deployment, text: str, said: str) -> None:
    """What the stand-ins say of their arguments is enough for Terraform to refuse what is not one."""
    with terraform.beside(text):
        assert said in terraform.refused()


def test_the_outputs_of_2018_are_there(applied: Applied) -> None:
    """Under their names; what lets somebody in is marked as sensitive, what everybody may see is not."""
    assert applied.outputs.keys() >= ORIGINAL
    sensitive = {name for name, one in applied.outputs.items() if one["sensitive"]}
    assert sensitive == {"ion_client_cert", "ion_client_key", "kubeconfig", "ion_front_token"}
    assert applied.outputs["ion_fqdn"]["value"] == "acme-x7k2p9.westeurope.cloudapp.azure.com"


def test_roles_are_the_least(applied: Applied) -> None:
    """Nobody has a role on the resource group or the subscription, and none that gives roles."""
    blobs = CONTAINER.format("*")
    assert roles(applied) == {
        ("cluster", "Network Contributor", "/virtualNetworks/*"),
        ("nodes", "AcrPull", "/registries/*"),
        ("ion", "Azure Service Bus Data Owner", "/namespaces/*"),
        ("ion", "Storage Blob Data Contributor", blobs),
        ("ion", "Storage Blob Delegator", "/storageAccounts/*"),
        ("ion", "Azure Batch Job Submitter", "/batchAccounts/*"),
        ("jobs", "Storage Blob Data Contributor", blobs),
        ("batch", "Storage Blob Data Contributor", blobs),
        ("batch", "AcrPull", "/registries/*"),
    }


def test_with_a_key_nobody_has_a_role_on_blobs(keyed: Applied) -> None:
    """An attempt's grant is signed with the key; a role beside it would be more than the grant."""
    assert roles(keyed) == {
        ("cluster", "Network Contributor", "/virtualNetworks/*"),
        ("nodes", "AcrPull", "/registries/*"),
        ("ion", "Azure Service Bus Data Owner", "/namespaces/*"),
        ("batch", "AcrPull", "/registries/*"),
    }
    assert keyed.one("azurerm_storage_account.ion")["shared_access_key_enabled"] is True


def test_services_know_no_keys_where_ion_can_do_without(applied: Applied) -> None:
    """Blobs, bus, Batch and registry let in by identity alone."""
    assert applied.one("azurerm_storage_account.ion")["shared_access_key_enabled"] is False
    assert applied.one("azurerm_servicebus_namespace.ion")["local_auth_enabled"] is False
    assert applied.one('azurerm_batch_account.ion["pool"]')["allowed_authentication_modes"] == ["AAD"]
    assert applied.one("azurerm_container_registry.ion")["admin_enabled"] is False


def test_what_is_secret_is_in_the_secret_alone(applied: Applied, keyed: Applied) -> None:
    """The ledger's key, and the rest of it, stand in no value of the chart and in no other resource."""
    assert secret(applied).keys() == {"ION_LEDGER_PASSWORD", "ION_FRONT_TOKEN", "APPLICATIONINSIGHTS_CONNECTION_STRING"}
    assert secret(keyed).keys() == {*secret(applied), "ION_BLOBS_ACCOUNT_KEY", "VISION_KEY"}
    owners = {"azurerm_cosmosdb_account", "azurerm_storage_account", "azurerm_application_insights", "random_password"}
    for one in (applied, keyed):
        for address, values in one.resources.items():
            if address != "kubernetes_secret_v1.connections" and address.split(".")[0] not in owners:
                text = json.dumps(values)
                assert not [value for value in secret(one).values() if value in text], address


def test_a_secret_that_changes_starts_pods_anew(terraform: Deployment, applied: Applied, keyed: Applied) -> None:
    """By an annotation of theirs, which is not the secret."""

    def annotation(one: Applied) -> str:
        (line,) = {line.strip() for line in values_text(one).splitlines() if "ion.dev/connections" in line}
        return line

    assert annotation(applied) != annotation(keyed)


def values_text(applied: Applied) -> str:
    text: str = applied.one("helm_release.ion")["values"][0]
    return text


def test_the_network_holds_blobs_and_ledger(applied: Applied) -> None:
    """Each has an endpoint in the subnet that policies name, and a name that leads there."""
    reached = {
        address.split('"')[1]: (
            one["private_service_connection"][0]["subresource_names"],
            one["private_dns_zone_group"][0],
        )
        for address, one in applied.of("azurerm_private_endpoint").items()
    }
    assert {name: parts for name, (parts, _) in reached.items()} == {"blobs": ["blob"], "ledger": ["MongoDB"]}
    for name, (_, zone) in reached.items():
        assert zone["private_dns_zone_ids"] == [applied.one(f'azurerm_private_dns_zone.ion["{name}"]')["id"]]
    assert applied.one("azurerm_cosmosdb_account.ion")["public_network_access_enabled"] is False
    assert applied.one('azurerm_subnet.ion["endpoints"]')["address_prefixes"] == ["10.40.32.0/24"]


def test_blobs_are_kept_as_ion_leaves_them(applied: Applied) -> None:
    """No versions, nobody without a role, no old TLS."""
    account = applied.one("azurerm_storage_account.ion")
    assert account["blob_properties"][0]["versioning_enabled"] is False
    assert (account["allow_nested_items_to_be_public"], account["min_tls_version"]) == (False, "TLS1_2")
    assert account["https_traffic_only_enabled"] is True
    assert applied.one("azurerm_storage_container.ion")["container_access_type"] == "private"


def test_the_pool_runs_containers_and_goes_to_none(applied: Applied) -> None:
    """Its nodes have one identity, by which they fetch Ion's image; none is kept while nothing waits."""
    pool = applied.one('azurerm_batch_pool.ion["pool"]')
    (identity,) = pool["identity"][0]["identity_ids"]
    containers = pool["container_configuration"][0]
    assert containers["type"] == "DockerCompatible"
    assert containers["container_image_names"] == ["acmex7k2p9.azurecr.io/ion:0.1.0"]
    assert containers["container_registries"][0]["user_assigned_identity_id"] == identity
    formula = pool["auto_scale"][0]["formula"]
    assert "$nodes = min(2, ceil($tasks / 1));" in formula
    assert "$TargetDedicatedNodes = $nodes;" in formula
    assert "$TargetLowPriorityNodes = 0;" in formula
    assert formula.strip().endswith("$NodeDeallocationOption = taskcompletion;")


def test_spot_nodes_of_batch_are_the_other_kind(terraform: Deployment) -> None:
    """Slots share a node, with images of modules beside Ion's; with a key for blobs tasks have no identity."""
    spot = {"spot": True, "slots": 4, "max": 8}
    made = terraform.apply(batch_pool=spot, batch_images=["detect:1"], blob_credentials="key")
    assert set(yaml.safe_load(values_text(made))["config"]["azurebatch"]) == {"url", "pool", "handlerImage"}
    found = made.one('azurerm_batch_pool.ion["pool"]')
    assert "$TargetDedicatedNodes = 0;" in found["auto_scale"][0]["formula"]
    assert "$nodes = min(8, ceil($tasks / 4));" in found["auto_scale"][0]["formula"]
    assert found["max_tasks_per_node"] == 4
    assert found["container_configuration"][0]["container_image_names"][1] == "acmex7k2p9.azurecr.io/detect:1"


def test_the_cluster_has_the_nodes_that_are_said(applied: Applied, keyed: Applied) -> None:
    """Azure makes no pools of its own; spot nodes are upgraded as Azure does it, which takes no number for them."""
    cluster = applied.one("azurerm_kubernetes_cluster.ion")
    assert [one["mode"] for one in cluster["node_provisioning_profile"]] == ["Manual"]
    surges = [
        [given["max_surge"] for given in one.one("azurerm_kubernetes_cluster_node_pool.jobs")["upgrade_settings"]]
        for one in (applied, keyed)
    ]
    assert surges == [["33%"], []]


def test_without_batch_there_is_nothing_of_it(keyed: Applied) -> None:
    """No account, no pool, no section in ion.yaml."""
    assert not keyed.of("azurerm_batch_account") | keyed.of("azurerm_batch_pool")
    assert "azurebatch" not in values_text(keyed)


def test_the_image_is_built_where_it_is_kept(applied: Applied, keyed: Applied) -> None:
    """By one command, from the top of the checkout, with the clients of what was made; or not at all."""
    folder, *words = applied.asked
    assert folder.endswith("0")  # the copy's top: deploy/terraform is two below it
    assert words[:2] == ["acr", "build"]
    said = dict(zip(words[2::2], words[3::2], strict=False))
    assert said["--subscription"] == LEAST["subscription_id"]
    assert (said["--registry"], said["--image"]) == ("acmex7k2p9", "ion:0.1.0")
    assert said["--file"] == "deploy/docker/ion.Dockerfile"
    assert {"azurebatch", "mongodb", "objects", "servicebus"} < set(
        said["--build-arg"].removeprefix("EXTRAS=").split(",")
    )
    assert words[-1] == "."
    assert keyed.asked == ()


def test_who_is_let_in_is_let_in_everywhere(applied: Applied, keyed: Applied) -> None:
    """The API server's list is that of the management API; everybody is no list."""

    def ranges(one: Applied) -> Any:
        return [
            given["authorized_ip_ranges"]
            for given in one.one("azurerm_kubernetes_cluster.ion")["api_server_access_profile"]
        ]

    assert ranges(applied) == [["203.0.113.7/32"]]
    assert ranges(keyed) == []
