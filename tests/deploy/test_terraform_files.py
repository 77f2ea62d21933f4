"""The files of the configuration, without carrying it out: what is declared is used, what is used is declared."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
from tests.deploy.terraform import LEAST, ROOT, TERRAFORM, program
from tests.deploy.terraform_provider import SCHEMAS

FOLDERS = (TERRAFORM, TERRAFORM / "modules" / "names", TERRAFORM / "modules" / "values")
FILES = sorted(TERRAFORM.rglob("*.tf"))
PROVIDERS = (*SCHEMAS, "terraform")
Blocks = dict[str, list[dict[str, Any]]]


def blocks(folder: Path) -> Blocks:
    """All blocks of the files of one module, by their kind."""
    found: Blocks = {}
    for file in folder.glob("*.tf"):
        for kind, some in hcl2.loads(file.read_text()).items():
            if isinstance(some, list):
                found.setdefault(kind, []).extend(one for one in some if isinstance(one, dict))
    return found


def names(block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The labels of a block, or the keys of `locals`, with what is below them."""
    for name, below in block.items():
        if not name.startswith("__"):
            yield name.strip('"'), below


def declared(folder: Path) -> dict[str, set[str]]:
    """What may be referred to in a module, by what stands before the dot."""
    found = blocks(folder)
    simple = {"var": "variable", "local": "locals", "module": "module"}
    known = {before: {name for one in found.get(kind, []) for name, _ in names(one)} for before, kind in simple.items()}
    for prefix, kind in (("", "resource"), ("data.", "data")):
        for one in found.get(kind, []):
            for type_, below in names(one):
                known.setdefault(f"{prefix}{type_}", set()).update(name for name, _ in names(below))
    return known


def code(folder: Path) -> str:
    """Without comments, and without the text in quotes that is not an expression."""
    text = "\n".join(file.read_text() for file in folder.glob("*.tf"))
    text = re.sub(r"(?m)(^|\s)#.*$", "", text)
    text = re.sub(r'(?m)^\s*(description|error_message|command|provider|source)\s*=\s*".*"$', "", text)
    expressions = re.findall(r"\$\{([^}]*)\}", text)
    return "\n".join([re.sub(r'"(?:[^"\\]|\\.)*"', '""', text), *expressions])


def references(folder: Path) -> set[tuple[str, str]]:
    found = set()
    for data, before, name in re.findall(r"(?<![\w.\-\"])(data\.)?(\w+)(?:\[[^\]]*\])?\.(\w+)", code(folder)):
        if (
            data
            or before in ("var", "local", "module")
            or re.match(r"(azurerm|kubernetes|helm|random|tls|terraform)_", before)
        ):
            found.add((f"{data}{before}", name))
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_reference_is_declared_and_every_declaration_is_used(folder: Path) -> None:
    """Variables, locals, modules, resources and data of each module; resources may stand for themselves."""
    known, used = declared(folder), references(folder)
    assert {(before, name) for before, name in used if name not in known.get(before, set())} == set()
    for before in ("var", "local", "module"):
        assert known[before] - {name for one, name in used if one == before} == set(), before
    assert all(any(one == before for one, _ in used) for before in known if before.startswith("data."))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TERRAFORM)))
def test_each_file_is_about_one_thing(file: Path) -> None:
    """A second parser reads it, it begins with what it is about, and it is not long."""
    text = file.read_text()
    assert hcl2.loads(text)
    assert len(text.splitlines()) <= 200
    if file.parent == TERRAFORM and file.name != "names.tf":
        assert text.startswith("# ")


def test_files_are_formatted() -> None:
    """As Terraform itself does it."""
    environ = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull}
    command = (*program(), "fmt", "-check", "-diff", "-recursive", str(TERRAFORM))
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stdout


def test_providers_have_versions_and_schemas() -> None:
    """A next major version is not taken by itself; there are stand-ins for what is used, and for no more."""
    (wanted,) = blocks(TERRAFORM)["terraform"][0]["required_providers"]
    versions = {name: re.search(r'"~> (\d+)\.\d+"', str(said["version"])) for name, said in names(wanted)}
    assert all(versions.values())
    assert versions.keys() == SCHEMAS.keys()
    used = {type_ for one in blocks(TERRAFORM)["resource"] for type_, _ in names(one)} - {"terraform_data"}
    assert used == {name for provider in SCHEMAS.values() for name in provider["resources"]}


def test_the_image_has_the_clients_of_what_is_made() -> None:
    """They are extras of Ion; those that tell of telemetry and start tasks on Batch may come with a later version."""
    said = hcl2.loads((TERRAFORM / "registry.tf").read_text())["locals"][0]["extras"].strip('"').split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(said) - known.keys() <= {"azurebatch", "azuremonitor"}
    assert {"kubernetes", "management", "mongodb", "objects", "servicebus"} <= set(said)


def test_the_example_says_what_has_to_be_said() -> None:
    """Its variables are declared, and those without a default are among them."""
    said = hcl2.loads((TERRAFORM / "vars.example.tfvars").read_text())
    keys = {name for name, _ in names(said)}
    assert keys <= declared(TERRAFORM)["var"]
    assert LEAST.keys() <= keys


def test_nothing_is_secret_in_the_files() -> None:
    """Neither keys nor state are kept beside the configuration."""
    ignored = (TERRAFORM / ".gitignore").read_text().split()
    assert {"*.tfstate", "*.tfvars", ".terraform/", "*.tfplan"} <= set(ignored)
    kept = subprocess.run(
        ("git", "ls-files", str(TERRAFORM)), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [name for name in kept if name.endswith((".tfstate", ".tfplan")) or ".terraform/" in name]
