"""What stands in the pages about Azure is what Terraform has: variables, outputs, files, roles."""

import re
from pathlib import Path

import yaml
from tests.deploy.terraform import ROOT, TERRAFORM, Applied
from tests.deploy.test_terraform_applied import roles
from tests.deploy.test_terraform_files import blocks, declared, names

from ion.adapters.mongo.schema import SHARD_KEYS
from ion.cli.client_config import load_config

PAGE, OPERATIONS = ((ROOT / "docs" / name).read_text() for name in ("azure.md", "azure-operations.md"))
BOTH = PAGE + OPERATIONS
VARIABLES = declared(TERRAFORM)["var"]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the first page."""
    below = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_variable_is_in_the_table() -> None:
    """With those alone; what has to be said is marked as needed."""
    table = {name: cells[1] for cells in rows("Variables") for name in re.findall(r"`(\w+)`", cells[0])}
    assert table.keys() == VARIABLES
    needed = {name for one in blocks(TERRAFORM)["variable"] for name, said in names(one) if "default" not in said}
    assert {name for name, default in table.items() if default == "needed"} == needed


def test_what_is_said_of_variables_is_a_variable() -> None:
    """Settings in the text and in examples; sizes in the table are the defaults."""
    said = set(re.findall(r"`(\w+) = ", BOTH))
    assert len(said) > 5
    assert said <= VARIABLES
    sizes = set(re.findall(r"Standard_\w+", (TERRAFORM / "variables_services.tf").read_text()))
    assert sizes <= set(re.findall(r"Standard_\w+", PAGE))


def test_outputs_in_commands_are_there() -> None:
    """And all of 2018's are taken."""
    asked = set(re.findall(r"terraform (?:-chdir=\S+ )?output -raw (\w+)", BOTH))
    assert asked <= {name for one in blocks(TERRAFORM)["output"] for name, _ in names(one)}
    assert {"ion_ca", "ion_client_cert", "ion_client_key", "ion_fqdn"} <= asked


def test_what_is_replaced_is_a_resource(applied: Applied) -> None:
    """`-replace` of anything else would be refused."""
    found = re.findall(r"-replace='?([^'`]+?)'?`", BOTH)
    assert len(found) == 3
    assert set(found) <= applied.resources.keys()


def test_every_file_that_makes_something_is_in_the_table() -> None:
    """Those of the configuration that have resources, each once."""
    said = [re.findall(r"`(\w+\.tf)`", cells[1])[0] for cells in rows("What is made")]
    made = {file.name for file in TERRAFORM.glob("*.tf") if "\nresource " in file.read_text()}
    assert sorted([*said, "names.tf"]) == sorted(made)


def test_roles_are_those_that_are_given(applied: Applied) -> None:
    """Who, which, and on what kind of thing."""
    kinds = {"container": "containers/ion", "account": "Accounts/", "namespace": "namespaces/"}
    kinds |= {"registry": "registries/", "network": "virtualNetworks/"}
    said = set()
    for who, _, may in rows("Who is who"):
        name = who.strip("`").removeprefix("…-").replace("of AKS", "nodes")
        for part in re.split(r"; |, (?=Storage)", may):
            for role, kind in re.findall(r"(.+?) \((\w+)\)(?:, )?", part):
                said.add((name, role, kinds[kind]))
    given = roles(applied)
    assert len(said) == len(given)
    for name, role, kind in said:
        assert [1 for one, its, scope in given if (one, its) == (name, role) and kind in scope], (name, role, kind)


def test_the_context_is_one(tmp_path: Path) -> None:
    """As a client's configuration it is read, with the paths beside it."""
    (text,) = re.findall(r"(?ms)^```\n(contexts:.*?)^```", PAGE)
    (tmp_path / ".ioncli.yaml").write_text(text)
    found = load_config(tmp_path / ".ioncli.yaml").of_context("azure")
    assert found["certfile"] == str(tmp_path / "certs" / "client.crt")
    assert yaml.safe_load(text)["contexts"]["azure"]["endpoint"].endswith(".cloudapp.azure.com:9000")


def test_collections_share_their_throughput() -> None:
    """There are as many as the page says, and no more than Cosmos DB lets share."""
    (most, ours) = re.findall(r"collections that share throughput, (\d+) \| fixed \| (\d+) ", OPERATIONS)[0]
    assert int(ours) == len(SHARD_KEYS) <= int(most)
