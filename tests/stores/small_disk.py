"""A small file system in memory for a server, that can be filled. Where none can be mounted a test is skipped."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.stores.server import lacking


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Every user may write to it."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    place = Path(tempfile.mkdtemp(prefix="ion-disk-"))
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(place)]
    refused = subprocess.run(words, capture_output=True, text=True, check=False).stderr.strip()
    try:
        if refused:
            lacking(f"nothing can be mounted: {refused}")
        yield place
    finally:
        if place.is_mount():
            subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


def fill(place: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = place / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(place).free == 0
    return ballast
