"""An image of busybox, which is one static program with many names."""

import shutil
import subprocess
from pathlib import Path

from tests.cluster.image_tar import write_image
from tests.cluster.places import cache

BUSYBOX = "ion.local/busybox:1"


def busybox() -> Path:
    """Its archive."""
    archive = cache() / "busybox.tar"
    if not archive.exists():
        program = shutil.which("busybox")
        assert program is not None, "busybox is missing: `make system` installs it"
        names = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
        draft = archive.with_suffix(".draft")
        write_image(
            draft,
            BUSYBOX,
            {"bin/busybox": (Path(program).read_bytes(), 0o755)},
            links={f"bin/{name}": "busybox" for name in names if name != "busybox"},
            folders={"bin": 0o755, "tmp": 0o1777},
        )
        draft.rename(archive)
    return archive
