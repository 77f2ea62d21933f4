"""Images without a registry or an engine: archives of one layer, as `docker save` writes them, by `tarfile` alone."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def write_image(
    target: Path,
    name: str,
    files: Mapping[str, tuple[bytes, int]],
    *,
    links: Mapping[str, str] | None = None,
    folders: Mapping[str, int] | None = None,
    entrypoint: Sequence[str] = (),
    environment: Sequence[str] = (),
) -> None:
    """Writes an image named `name` (with its tag) of `files`: content and mode by path; `links` are symbolic."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path, mode in (folders or {}).items():
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        for path, (content, mode) in files.items():
            file = tarfile.TarInfo(path)
            file.size, file.mode = len(content), mode
            tar.addfile(file, io.BytesIO(content))
        for path, to in (links or {}).items():
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, to
            tar.addfile(link)
    raw = layer.getvalue()
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint) or None, "Env": ["PATH=/bin:/usr/bin", *environment]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(raw).hexdigest()}"]},
    }
    described = json.dumps(config).encode()
    told = hashlib.sha256(described).hexdigest()
    manifest = [{"Config": f"{told}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for path, content in (
            (f"{told}.json", described),
            ("layer.tar", raw),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
