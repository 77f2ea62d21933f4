"""The page about Azure Batch: its examples work, and nothing is missing from it."""

import re
from pathlib import Path

import pytest

from ion.adapters.executors.azurebatch.executor import check
from ion.adapters.executors.azurebatch.names import task_id
from ion.adapters.executors.azurebatch.task import archive, assignment_in
from ion.config.batches import AZUREBATCH, MODULE_AZUREBATCH
from ion.config.load import load_pipeline
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.model.module import revise
from ion.ports.executor import Assignment

PAGE = (Path(__file__).parents[2] / "docs" / "azurebatch.md").read_text()
PIPELINES = re.findall(r"(?ms)^```yaml\n(# \S+\.yaml\nion: 1\n.*?)^```", PAGE)


@pytest.mark.parametrize("text", PIPELINES, ids=lambda text: text.split()[1])
def test_every_example_makes_tasks(text: str, tmp_path: Path) -> None:
    """It loads as a pipeline, and each of its modules becomes a task with all that its node needs."""
    (tmp_path / "ion.yaml").write_text(text)
    pipeline = load_pipeline(tmp_path / "ion.yaml", environ={"ACR_PASSWORD": "p"})
    event = Event(id="e", type="t", source="s", correlation_id="c", parent_id="p", time=utc_now())
    for module in pipeline.modules:
        work = Assignment(job=Job(id="j", module=module.name, event=event, attempt=1), revision=revise(module))
        check(work.revision, pipeline.settings.azurebatch)
        assert assignment_in(archive(work, pipeline.settings.azurebatch, "{}", {})) == work


def test_there_are_examples() -> None:
    """The pattern that finds them finds all."""
    assert len(PIPELINES) == PAGE.count("\nion: 1\n") >= 1
    assert task_id("j", 1) == "j-1"


@pytest.mark.parametrize("key", [*AZUREBATCH.fields, *MODULE_AZUREBATCH.fields])
def test_every_key_has_a_row(key: str) -> None:
    """A setting that nobody can read of is none."""
    assert f"\n| `{key}` |" in PAGE
