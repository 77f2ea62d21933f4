"""What stands in the pages about Kubernetes is tried: values are rendered, pipelines loaded, commands understood."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helm_python import HelmError
from tests.deploy.chart import CHART, Document, render
from tests.deploy.test_chart_values import over

from ion.cli.main import main
from ion.config.load import load_pipeline

ROOT = Path(__file__).parents[2]
PAGES = ("kubernetes.md", "kubernetes-operations.md", "runbook.md", "azure.md", "azure-operations.md")
TEXTS = {page: (ROOT / "docs" / page).read_text() for page in PAGES}
BLOCKS = {
    name: text
    for page in TEXTS.values()
    for name, text in re.findall(r"(?ms)^```yaml\n# (\S+\.yaml)[^\n]*\n(.*?)^```", page)
}
VALUES = sorted(name for name in BLOCKS if name.startswith("values"))
COMMANDS = [
    line
    for page in TEXTS.values()
    for block in re.findall(r"(?ms)^```console\n(.*?)^```", page)
    for line in re.findall(r"(?m)^\$ (.*)$", block)
]
WHOLE = ("values.yaml", "values-trial.yaml", "values-aks.yaml")
"""The others are pieces, laid over the first."""


def document(name: str) -> Document:
    found: Document = yaml.safe_load(BLOCKS[name])
    return found


def test_every_block_is_found() -> None:
    """The pattern leaves none out: each begins with the name of its file."""
    assert sum(page.count("```yaml") for page in TEXTS.values()) == len(BLOCKS) >= 10


@pytest.mark.parametrize("name", VALUES)
def test_every_set_of_values_renders(name: str) -> None:
    """By itself, or over those of the servers."""
    values = document(name)
    if name == "values-cert-manager.yaml":
        values = over(values, {"tls": {"secret": ""}})
    if name not in WHOLE:
        values = over(document("values.yaml"), values)
    assert ("Deployment", "ion-management") in render(values)


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - set(VALUES)))
def test_every_other_block_is_a_pipeline_or_an_object(name: str, tmp_path: Path) -> None:
    """A pipeline loads; what is for kubectl has a kind and a name."""
    found = document(name)
    if "ion" in found:
        (tmp_path / name).write_text(BLOCKS[name])
        assert load_pipeline(tmp_path / name, environ={}).modules
    else:
        assert {"apiVersion", "kind", "metadata"} <= found.keys()


def parts(program: str) -> list[list[str]]:
    """The words after each `program` in the commands of the pages; a command may be several in a row."""
    split = [piece for line in COMMANDS for piece in re.split(r"&&|\||(?<=\S) &$", line)]
    return [words[1:] for piece in split if (words := shlex.split(piece)) and words[0] == program]


def test_commands_of_helm_name_the_chart_and_files_of_the_page() -> None:
    """And a release and a namespace that the others name as well."""
    commands = parts("helm")
    assert len(commands) >= 4
    for words in commands:
        assert words[0] in ("install", "upgrade", "uninstall", "template", "rollback")
        assert "ion" in words
        assert words[0] in ("uninstall", "rollback") or ROOT / "deploy/helm/ion" in [ROOT / word for word in words]
        files = [words[n + 1] for n, word in enumerate(words) if word == "-f"]
        assert set(files) <= BLOCKS.keys()
        if "--namespace" in words:
            assert words[words.index("--namespace") + 1] == "media"


def test_the_refusal_that_is_shown_is_the_charts() -> None:
    """Word by word, after what Helm puts before it."""
    (shown,) = re.findall(r"(?m)^Error: … (.*)$", TEXTS["kubernetes.md"])
    with pytest.raises(HelmError, match=re.escape(shown)):
        render(document("values-jobs.yaml"))


@pytest.mark.parametrize("words", parts("ion"), ids=" ".join)
def test_commands_of_ion_are_understood(words: list[str]) -> None:
    """The command is there and takes these options and arguments; it is not run."""
    context: click.Context = main.make_context("ion", list(words))
    command: Any = main
    rest = [*context._protected_args, *context.args]
    while isinstance(command, click.Group):
        name, rest = rest[0], rest[1:]
        command = command.get_command(context, name)
        assert command is not None, name
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", PAGES)
def test_names_in_commands_of_kubectl_are_of_the_chart(page: str) -> None:
    """A Deployment, Service or label that nothing has would be looked for in vain."""
    made = render(document("values.yaml")) | render(document("values-trial.yaml"))
    for kind, name in re.findall(r"\b(deployment|service|secret)[ /](ion\S*)", TEXTS[page]):
        if name.rstrip("`") not in ("ion-connections", "ion-tls"):
            assert (kind.title(), name.strip("`")) in made, name
    components = {one["metadata"]["labels"].get("app.kubernetes.io/component") for one in made.values()} | {"job"}
    assert set(re.findall(r"kubernetes\.io/component=(\w+)", TEXTS[page])) <= components


def test_every_value_is_explained_in_its_file() -> None:
    """`helm show values` is the reference: each top-level value has a comment above it or beside a key."""
    text = (CHART / "values.yaml").read_text()
    for key in yaml.safe_load(text):
        block = re.search(rf"(?ms)(?:^#[^\n]*\n)*^{key}:.*?(?=^\S|\Z)", text)
        assert block is not None
        assert "#" in block[0], key
