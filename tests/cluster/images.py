"""The images that tests run, each by its name and its archive; built from this checkout if they were not yet."""

import os
import shutil
import subprocess
from pathlib import Path

from deploy.images.build import NAMES, archive
from tests.cluster.busybox import BUSYBOX, busybox


def ion_image() -> tuple[str, Path]:
    """Ion's own image, whose command is `ion`."""
    return NAMES["ion"], archive("ion", _base())


def media_image() -> tuple[str, Path]:
    """The modules of examples/media, each by its command there."""
    return NAMES["media"], archive("media", _base())


def busybox_image() -> tuple[str, Path]:
    """A shell and the usual programs."""
    return BUSYBOX, busybox()


def missing() -> str:
    """Why no image can be built here, in one sentence; empty if one can."""
    needed = ("podman",) if _base() else ("podman", "debootstrap", "apt-get")
    if gone := [name for name in needed if shutil.which(name) is None]:
        return f"not here: {', '.join(gone)}; on Debian 12 `make system` installs them"
    if not _base() and os.geteuid() != 0:
        return "debootstrap needs root: name an image with Python 3.11 in ION_IMAGE_BASE instead"
    works = subprocess.run(["podman", "info"], capture_output=True, text=True, check=False)
    return f"podman does not work here: {works.stderr.strip()}" if works.returncode else ""


def _base() -> str:
    """What the Dockerfiles stand on, if it is not to be made here."""
    return os.environ.get("ION_IMAGE_BASE", "")
