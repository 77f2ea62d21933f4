"""Where the cluster's binaries and its running state lie: in the user's cache folder, outside every checkout."""

import os
from pathlib import Path

VERSION = "v1.20.2"
"""What Debian 12 has the source of."""
MENDED = 1
"""What `build` mends in it; another number builds anew."""


def cache() -> Path:
    """The folder of all; it exists."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "ion" / "kubernetes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def binaries() -> Path:
    return cache() / f"bin-{VERSION}-{MENDED}"


def running() -> Path:
    """The folder of the one cluster that runs, or ran."""
    return cache() / "run"
