"""The stand-ins' table of arguments against what the providers really take."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.deploy.terraform import TERRAFORM
from tests.deploy.terraform_bindings import Argument, Schema, schemas
from tests.deploy.terraform_provider import SCHEMAS, Attribute, attributes
from tests.deploy.test_terraform_files import blocks, names


def kinds(provider: str) -> dict[str, Mapping[str, Any]]:
    """What the table says of a provider, its resources and its sources of data, by their names in the bindings."""
    said = SCHEMAS[provider]
    data = {f"data.{name}": one for name, one in said.get("data", {}).items()}
    return {provider: said["provider"], **said["resources"], **data}


def fields(kind: Any) -> set[str]:
    """The names in an object or a list of objects."""
    _, inner, *_ = kind
    return set(inner) if isinstance(inner, Mapping) else fields(inner)


def argument(said: Attribute, real: Argument) -> Iterator[str]:
    """Where an attribute of the table is another than the provider's argument."""
    if isinstance(real.type, dict):
        yield from (f"{name} unknown" for name in fields(said.type) - real.type.keys())
    elif said.type != real.type:
        yield f"is {real.type}"
    if (said.required or said.optional) and said.required != real.needed:
        yield "is needed" if real.needed else "is not needed"


def differences(block: Mapping[str, Any], real: Mapping[str, Argument], told: frozenset[str]) -> Iterator[str]:
    """All that the table has otherwise, or lacks though it is needed."""
    said = attributes(block)
    for name, one in said.items():
        if name in real:
            yield from (f"{name} {what}" for what in argument(one, real[name]))
        elif one.required or one.optional or name not in told:
            yield f"{name} unknown"
    inner = {name: one for name, one in block.items() if name not in said}
    for name, one in inner.items():
        known = real.get(plain := name.rstrip("!"))
        if known is None or not isinstance(known.type, dict):
            yield f"{plain} is no block"
            continue
        if known.needed != name.endswith("!"):
            yield f"{plain} is needed" if known.needed else f"{plain} is not needed"
        yield from (f"{plain}.{what}" for what in differences(one, known.type, frozenset()))
    present = said.keys() | {name.rstrip("!") for name in inner}
    yield from (f"{name} is needed" for name, one in real.items() if one.needed and name not in present)


@pytest.fixture(scope="module", params=SCHEMAS)
def provider(request: pytest.FixtureRequest) -> tuple[str, dict[str, Schema]]:
    name: str = request.param
    return name, schemas(name, kinds(name))


def test_the_table_is_what_the_provider_takes(provider: tuple[str, dict[str, Schema]]) -> None:
    """Each argument is known by its name, has its type, is needed or not: so Terraform's word about ours is right."""
    name, real = provider
    said = kinds(name)
    assert real.keys() == said.keys()
    wrong = {kind: list(differences(block, real[kind].arguments, real[kind].told)) for kind, block in said.items()}
    assert {kind: some for kind, some in wrong.items() if some} == {}


def test_the_schemas_are_of_versions_that_are_taken(provider: tuple[str, dict[str, Schema]]) -> None:
    """All of one, which `versions.tf` allows."""
    name, real = provider
    (version,) = {one.version for one in real.values()}
    (wanted,) = blocks(TERRAFORM)["terraform"][0]["required_providers"]
    said = dict(names(wanted))[name]["version"].strip('"')
    major, minor = map(int, re.fullmatch(r"~> (\d+)\.(\d+)", said).groups())  # type: ignore[union-attr]
    have = tuple(map(int, version.split(".")))
    assert have[0] == major
    assert have[1] >= minor


@pytest.mark.parametrize(
    ("block", "wrong"),
    [
        ({"nome": "string!"}, ["nome unknown", "name is needed"]),
        ({"name": "string~"}, ["name is needed"]),
        ({"name": "[string]!"}, ["name is string"]),
        ({"name": "string!", "rule": {"port": "string~"}}, ["rule.port is number"]),
        ({"name": "string!", "rule!": {}}, ["rule is not needed"]),
        ({"name": "string!", "id": "string~"}, ["id unknown"]),
        ({"name": "string!", "id": "string", "rule": {"port": "number~"}}, []),
    ],
)
def test_what_differs_is_told(block: Mapping[str, Any], wrong: list[str]) -> None:
    """A comparison that finds nothing in a table with a fault would be none."""
    port = Argument(needed=False, type="number")
    real = {"name": Argument(needed=True, type="string"), "rule": Argument(needed=False, type={"port": port})}
    assert list(differences(block, real, frozenset({"name", "rule", "id"}))) == wrong
