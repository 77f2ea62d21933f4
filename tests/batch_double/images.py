"""The images that tasks run, where podman finds them: Ion's own, built from this checkout, and one with a shell."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.batch_double.node import CONFIG
from tests.cluster.images import ion_image, missing
from tests.stores.server import lacking

SHELL = "localhost/ion-batch-tests/shell:1"
_TOOLS = "sh sleep cat echo ls mkdir dd head tail yes seq true false id test tr printf chmod env grep kill"


def images(folder: Path) -> tuple[str, str]:
    """Names of the handler's image and the shell's. Ends the test where podman cannot run them."""
    if why := missing():
        lacking(why)
    config = folder / "containers.conf"
    config.write_text(CONFIG)
    environ = {**os.environ, "CONTAINERS_CONF": str(config)}
    _make_shell(environ)
    words = ["podman", "run", "--rm", "--entrypoint=/bin/sh", SHELL, "-c", "exit 0"]
    tried = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    if tried.returncode:
        lacking(f"podman cannot run a container here: {tried.stderr.strip()}")
    return loaded(ion_image()[1]), SHELL


def loaded(archive: Path) -> str:
    """The image in an archive, by its id: its name may be another checkout's by now."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        identity = json.load(manifest)[0]["Config"].removesuffix(".json")
    with (archive.parent / "load.lock").open("w") as lock:  # other workers want it at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run(["podman", "image", "exists", identity], check=False).returncode:
            subprocess.run(["podman", "load", "--quiet", "--input", str(archive)], check=True, capture_output=True)
    return str(identity)


def _make_shell(environ: dict[str, str]) -> None:
    if subprocess.run(["podman", "image", "exists", SHELL], env=environ, check=False).returncode == 0:
        return
    busybox = shutil.which("busybox")
    if busybox is None:
        lacking("busybox is missing: `make system` installs it")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(str(busybox), "bin/busybox")
        for name in _TOOLS.split():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    words = ["podman", "import", "-", SHELL]
    subprocess.run(words, env=environ, input=archive.getvalue(), check=True, capture_output=True)
