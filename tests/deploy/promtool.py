"""Prometheus' own tool. Where it is not, a test is skipped, and fails in CI."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(folder: Path, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs it in a folder; `text` is its standard input."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not here; on Debian 12 `make system` installs it")
        pytest.skip("promtool is not here; on Debian 12 `make system` installs it")
    return subprocess.run(["promtool", *words], cwd=folder, capture_output=True, input=text, text=True, check=False)
