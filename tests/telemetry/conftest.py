"""Collectors, and commands that export to them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.programs import Folder
from tests.telemetry.collector import Collector, http_collector


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Folder]:
    """A folder to run commands in."""
    with Folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def collector() -> Iterator[Collector]:
    """It listens at its `endpoint`, over HTTP."""
    with http_collector() as one:
        yield one


@pytest.fixture
def exporting(collector: Collector) -> dict[str, str]:
    """The variables of a command that exports to it."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
