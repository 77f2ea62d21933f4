"""What may be said to Terraform: what Azure would refuse is refused before anything is made."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.deploy.terraform import TERRAFORM, Applied, Deployment, program

WRONG: dict[str, tuple[Any, ...]] = {
    "subscription_id": ("acme", "00000000-0000-0000-0000-00000000000", "0000000000000000000000000000000000000000"),
    "location": ("West Europe", "westeurope-1", ""),
    "prefix": ("io", "Ion", "1on", "ion-acme", "elevenchars"),
    "suffix": ("2a", "2A3", "sevenxx", "-ab"),
    "address_space": ("10.40.0.0/24", "192.168.0.0/16", "10.244.0.0/16", "10.250.0.0/16", "10.400.0.0/16"),
    "allowed_cidrs": ([], ["203.0.113.7"], ["203.0.113.7/33"], ["2001:db8::/32"]),
    "image_tag": ("latest", "", "a b", "-x"),
    "client_name": ("", "a b", "-x", "x" * 65),
    "helm_values": (["- a"], ["a: ["], ["text"]),
    "extra_secrets": ({"vision-key": "x"}, {"vision_key": "x"}, {"1X": "x"}),
    "cluster_tier": ("free", "Basic"),
    "kubernetes_version": ("1.3", "v1.33", "latest"),
    "system_nodes": ({"min": 0}, {"min": 4, "max": 3}, {"max": 1001}),
    "job_nodes": ({"max": 0}, {"max": 1001}),
    "registry_sku": ("standard", "Classic"),
    "bus_units": (3, -1, 32),
    "ledger_throughput": (400, 1500, 2_000_000),
    "blob_replication": ("RAGRS", "zrs"),
    "blob_credentials": ("sas", ""),
    "batch_pool": ({"max": 0}, {"slots": 0}, {"slots": 257}),
    "batch_images": (["detect"], ["acme.azurecr.io:5000/x"], ["Detect:1"]),
    "telemetry_days": (7, 31),
    "telemetry_gb": (0, -2),
}
RULES: dict[str, str] = {
    "group": r"[-\w.()]{0,89}[-\w()]",
    "network": r"[a-zA-Z0-9][-\w.]{0,62}\w",
    "cluster": r"(?=.{1,54}$)[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?",  # the DNS prefix too, which is shorter
    "label": r"[a-z][-a-z0-9]{1,61}[a-z0-9]",
    "bus": r"(?=.{6,50}$)[a-zA-Z][-a-zA-Z0-9]*[a-zA-Z0-9](?<!-sb)(?<!-mgmt)",
    "ledger": r"[a-z0-9][-a-z0-9]{2,43}",
    "insights": r"[a-zA-Z0-9][-a-zA-Z0-9]{2,61}[a-zA-Z0-9]",
    "registry": r"[a-zA-Z0-9]{5,50}",
    "blobs": r"[a-z0-9]{3,24}",
    "batch": r"[a-z0-9]{3,24}",
}
"""Azure's rules for names of each kind, by its page "Naming rules and restrictions for Azure resources"."""
OTHERS: dict[str, str] = {
    "azurerm_user_assigned_identity": r"[a-zA-Z0-9][-\w]{2,127}",
    "azurerm_federated_identity_credential": r"[a-zA-Z0-9][-\w]{2,119}",
    "azurerm_kubernetes_cluster_node_pool": r"[a-z][a-z0-9]{0,11}",
    "azurerm_private_endpoint": r"[a-zA-Z0-9][-\w.]{0,62}\w",
    "azurerm_subnet": r"[a-zA-Z0-9][-\w.]{0,78}\w",
    "azurerm_storage_container": r"(?!.*--)[a-z0-9][-a-z0-9]{1,61}[a-z0-9]",
    "azurerm_batch_pool": r"[-\w]{1,64}",
    "azurerm_cosmosdb_mongo_database": r"[a-zA-Z0-9_-]{1,38}",
}


def declared() -> dict[str, dict[str, Any]]:
    """The variables, with what their blocks say."""
    found: dict[str, dict[str, Any]] = {}
    for file in ("variables.tf", "variables_services.tf"):
        for one in hcl2.loads((TERRAFORM / file).read_text())["variable"]:
            found |= {name.strip('"'): said for name, said in one.items() if isinstance(said, dict)}
    return found


def pattern(name: str) -> str:
    """The regular expression by which a variable is validated; RE2 and Python agree on these."""
    condition = declared()[name]["validation"][0]["condition"]
    found = re.search(r'regex\("((?:[^"\\]|\\.)*)"', condition)
    assert found is not None, condition
    return found[1].replace("\\\\", "\\")


def test_every_variable_that_can_be_wrong_is_in_the_table() -> None:
    """A new one with a validation has to be tried too; whatever is declared is described."""
    variables = declared()
    assert {name for name, said in variables.items() if "validation" in said} == WRONG.keys()
    assert all(said.get("description") for said in variables.values())
    assert {name for name, said in variables.items() if "default" not in said} == {"subscription_id", "allowed_cidrs"}


@pytest.mark.parametrize("turn", range(max(map(len, WRONG.values()))))
def test_what_cannot_be_is_refused_with_what_it_has_to_be(terraform: Deployment, turn: int) -> None:
    """Each by its own sentence; the first word says which it is."""
    said = {name: values[turn] for name, values in WRONG.items() if turn < len(values)}
    heard = terraform.refused(**said)
    assert heard.count("Invalid value for variable") == len(said)
    for name in said:
        assert f"{name} must " in heard or f"{name} is no " in heard, name


def made(folder: Path, pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    """What the module makes of prefixes and suffixes; Terraform needs no provider for that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.tf").write_text(
        'variable "pairs" { type = list(list(string)) }\n'
        'module "names" {\n  for_each = { for n, pair in var.pairs : n => pair }\n'
        f'  source = "{TERRAFORM / "modules" / "names"}"\n'
        "  prefix = each.value[0]\n  suffix = each.value[1]\n"
        '  location = "westeurope"\n}\n'
        'output "names" { value = [for n, pair in var.pairs : module.names[n].names] }\n'
    )
    (folder / "pairs.auto.tfvars.json").write_text(json.dumps({"pairs": pairs}))
    environ = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    for words in (("init",), ("apply", "-auto-approve")):
        subprocess.run((*program(), *words, "-no-color"), cwd=folder, env=environ, check=True, capture_output=True)
    shown = subprocess.run(
        (*program(), "output", "-json", "names"), cwd=folder, env=environ, check=True, capture_output=True
    )
    found: list[dict[str, str]] = json.loads(shown.stdout)
    return found


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


pairs = st.tuples(
    st.from_regex(pattern("prefix").strip("^$"), fullmatch=True),
    st.from_regex(pattern("suffix").strip("^$?"), fullmatch=True),
)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(found=st.lists(pairs, min_size=40, max_size=40))
def test_all_names_that_come_of_what_is_allowed_are_names(workshop: Path, found: list[tuple[str, str]]) -> None:
    """By Azure's rules for each kind of resource; the longest and the shortest are always among them."""
    for names in made(workshop, [*found, ("abc", "abc"), ("a234567890", "a23456"), ("ion", "000")]):
        assert names.keys() == RULES.keys()
        for kind, name in names.items():
            assert re.fullmatch(RULES[kind], name), (kind, name)


def test_other_names_are_names_too(applied: Applied) -> None:
    """Those that are written out, and those that are put together in the resources."""
    for kind, rule in OTHERS.items():
        assert applied.of(kind), kind
        for address, one in applied.of(kind).items():
            assert re.fullmatch(rule, one["name"]), address
    label = applied.outputs["ion_fqdn"]["value"].split(".")[0]
    assert re.fullmatch(RULES["label"], label)


def test_a_suffix_of_yours_is_taken(keyed: Applied) -> None:
    """In place of one at random."""
    assert keyed.one("azurerm_storage_account.ion")["name"] == "acme2ab"
    assert keyed.outputs["ion_fqdn"]["value"].startswith("acme-2ab.")
