"""What the tests of outputs share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where that can be: a thousand stores are made and removed, which a busy disk does slowly."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("outputs")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="ion-fuzz-") as made:
        yield Path(made)
