"""Podman where the machine's own configuration of it does not suit, as inside a container."""

from collections.abc import Callable
from pathlib import Path

import pytest

OWN_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def suit(why_not: Callable[[], str], folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Tries the machine's configuration, then ours, which `patch` sets. Why neither works; empty if one does."""
    if not why_not():
        return ""
    config = folder / "containers.conf"
    config.write_text(OWN_CONFIG)
    patch.setenv("CONTAINERS_CONF", str(config))
    return why_not()
