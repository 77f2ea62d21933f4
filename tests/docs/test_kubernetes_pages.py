"""The page about Kubernetes' settings: its examples work, and nothing is missing from it."""

import re
from pathlib import Path

import pytest

from ion.adapters.deployments.kubernetes.manifest import deployment
from ion.adapters.executors.kubernetes.pod import job_body
from ion.config.clusters import DISPATCHERS, KUBERNETES, MODULE_KUBERNETES
from ion.config.load import load_pipeline
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.model.module import revise
from ion.ports.deployments import Wanted
from ion.ports.executor import Assignment

DOCS = Path(__file__).parents[2] / "docs"
PAGE, CONTROL = ((DOCS / name).read_text() for name in ("kubernetes-settings.md", "kubernetes-control.md"))
PIPELINES = re.findall(r"(?ms)^```yaml\n(# \S+\.yaml\nion: 1\n.*?)^```", PAGE + CONTROL)
ENVIRON = {"POSTGRES_PASSWORD": "p", "S3_SECRET": "s"}


@pytest.mark.parametrize("text", PIPELINES, ids=lambda text: text.split()[1])
def test_every_example_makes_pods(text: str, tmp_path: Path) -> None:
    """It loads as a pipeline, and each of its modules becomes a Job."""
    (tmp_path / "ion.yaml").write_text(text)
    pipeline = load_pipeline(tmp_path / "ion.yaml", environ=ENVIRON, settings_only=True)
    event = Event(id="e", type="t", source="s", correlation_id="c", parent_id="p", time=utc_now())
    for module in pipeline.modules:
        job = Job(id="j", module=module.name, event=event, attempt=1)
        made = job_body(Assignment(job=job, revision=revise(module)), pipeline.settings.cluster)
        assert [one["name"] for one in made["spec"]["template"]["spec"]["containers"]] == ["commit"]
    if said := pipeline.settings.cluster.dispatchers:
        wanted = Wanted(module="detect", replicas=1, most=5, basis="b")
        made = deployment(wanted, pipeline.settings.cluster, said, "ion")
        assert [one["name"] for one in made["spec"]["template"]["spec"]["containers"]] == ["dispatcher"]
    assert pipeline.modules or said


def test_there_are_examples() -> None:
    """The pattern that finds them finds all."""
    assert len(PIPELINES) == (PAGE + CONTROL).count("\nion: 1\n") >= 3


@pytest.mark.parametrize("key", [*KUBERNETES.fields, *MODULE_KUBERNETES.fields, *DISPATCHERS.fields])
def test_every_key_has_a_row(key: str) -> None:
    """A setting that nobody can read of is none."""
    assert f"\n| `{key}` |" in PAGE
