"""The Helm chart, rendered as Helm renders it, without a cluster."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml
from helm_python import _native  # its `render` does not pass on the cluster's version, which its library takes

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "ion"
SETS = {file.stem: file for file in sorted((CHART / "ci").glob("*.yaml"))}
OLDEST, NEWEST = "v1.20.2", "v1.33.0"
NAMESPACE = "media"

Document = dict[str, Any]


def values_of(name: str) -> Document:
    """One of the chart's own sets of values."""
    return helm_python.values_from_yaml(SETS[name].read_text())


def render(
    values: Mapping[str, Any],
    *,
    kube_version: str = NEWEST,
    name: str = "ion",
    namespace: str = NAMESPACE,
) -> dict[tuple[str, str], Document]:
    """The chart's objects by kind and name. Raises HelmError."""
    options = {"name": name, "namespace": namespace, "kube_version": kube_version}
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        rendered = json.loads(_native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(options)))
    made: dict[tuple[str, str], Document] = {}
    for file, text in rendered.items():
        if file.endswith(".txt"):
            continue
        for document in filter(None, yaml.safe_load_all(text)):
            key = (document["kind"], document["metadata"]["name"])
            assert key not in made, f"{file} makes {key} a second time"
            made[key] = document
    return made


def pods(made: Mapping[tuple[str, str], Document]) -> dict[str, Document]:
    """The pods' specifications of everything that has pods, by name."""
    return {
        name: one["spec"]["template"]["spec"]
        for (kind, name), one in made.items()
        if kind in ("Deployment", "StatefulSet")
    }


def of_kind(made: Mapping[tuple[str, str], Document], kind: str) -> dict[str, Document]:
    return {name: one for (of, name), one in made.items() if of == kind}
