"""Builds Ion's images with podman, where no engine runs and no registry is reached: `build.py [ion] [media]`.

Prints the archive of each, as `docker save` writes it. An archive is named by what went into it and kept in the user's
cache folder, so that what was built once is not built again. Packages come as wheels, which this machine's own pip
fetches; the build itself has none but those. The Dockerfiles stand on an image of Debian 12 with its Python: `--base`
names one, without it one is made by debootstrap, from where this machine has its own packages.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = {"ion": "ion.local/ion:test", "media": "ion.local/media:test"}
PARTS = {
    "ion": ("pyproject.toml", "README.md", "LICENSE", "src"),
    "media": ("examples/media/requirements.txt", "examples/media/modules"),
}
_KEPT = 4
_PACKAGES = "python3,python3-venv,ca-certificates"
_LEFT_OUT = ("var/cache", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/*/gconv")
_PIP = "[global]\nno-index = true\nfind-links = /wheels\n"


def archive(name: str, base: str = "") -> Path:
    """The archive of an image, built if there is none of the present source. Raises CalledProcessError."""
    with _locked(place := _cache()), tempfile.TemporaryDirectory(prefix="ion-image-") as folder:
        context = Path(folder)
        _fill(name, context)
        target = place / f"{name}-{_digest(context, base or _made_base())}.tar"
        if not target.exists():
            print(f"» the image {NAMES[name]}", file=sys.stderr, flush=True)
            _build(name, context, base or _base(), _wheels(_needs(name, context), place))
            draft = target.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            _run(["podman", "save", "--quiet", "--format=docker-archive", "--output", str(draft), NAMES[name]])
            draft.rename(target)
        target.touch()
        for old in sorted(place.glob(f"{name}-*.tar"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
            old.unlink()
        return target


def _fill(name: str, context: Path) -> None:
    """Lays out what goes into the image, and its Dockerfile."""
    for part in PARTS[name]:
        (context / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, context / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(ROOT / part, context / part)
    shutil.copy2(ROOT / f"deploy/docker/{name}.Dockerfile", context / "Dockerfile")


def _build(name: str, context: Path, base: str, wheels: Path) -> None:
    (settings := context / "pip.conf").write_text(_PIP)
    given = [f"--volume={wheels}:/wheels:ro", f"--volume={settings}:/etc/pip.conf:ro", f"--build-arg=BASE={base}"]
    # Without a control group and a network of its own it is built inside a container too.
    _run(
        [
            "podman",
            "build",
            "--quiet",
            "--isolation=chroot",
            "--network=host",
            *given,
            f"--tag={NAMES[name]}",
            str(context),
        ]
    )


def _digest(context: Path, base: str) -> str:
    told = hashlib.sha256(base.encode())
    for file in sorted(one for one in context.rglob("*") if one.is_file()):
        told.update(file.relative_to(context).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return told.hexdigest()[:16]


def _needs(name: str, context: Path) -> list[str]:
    """What pip is asked for while the image is built."""
    if name == "media":
        lines = (context / "examples/media/requirements.txt").read_text().splitlines()
        return [need for line in lines if (need := line.partition("#")[0].strip())]
    described = tomllib.loads((context / "pyproject.toml").read_text())
    extras = re.findall(r"^ARG EXTRAS=(\S+)", (context / "Dockerfile").read_text(), re.MULTILINE)[0].split(",")
    project = described["project"]
    more = [need for extra in extras for need in project["optional-dependencies"][extra]]
    return [*described["build-system"]["requires"], *project["dependencies"], *more]


def _wheels(needs: Sequence[str], place: Path) -> Path:
    """A folder with the wheels of `needs`, and of what those need, for Debian 12's Python."""
    folder = place / f"wheels-{hashlib.sha256(repr(needs).encode()).hexdigest()[:16]}"
    if not folder.exists():
        if sys.version_info[:2] != (3, 11):
            raise SystemExit("the image has Python 3.11: run this with it too, for packages are built by it")
        shutil.rmtree(draft := folder.with_suffix(".draft"), ignore_errors=True)
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", f"--wheel-dir={draft}", *needs])
        draft.rename(folder)
    return folder


def _made_base() -> str:
    """The name of the base that is made here, which says how."""
    return f"ion.local/base:bookworm-{hashlib.sha256(repr((_PACKAGES, _LEFT_OUT)).encode()).hexdigest()[:8]}"


def _base() -> str:
    """Debian 12 with its Python, made if it was not yet."""
    name = _made_base()
    if subprocess.run(["podman", "image", "exists", name], check=False).returncode:
        print("» the image of Debian 12 that others stand on", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="ion-base-") as folder:
            root, packed = f"{folder}/root", f"{folder}/root.tar"
            _run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root, _mirror()])
            _run(["tar", "-C", root, *(f"--exclude=./{path}" for path in _LEFT_OUT), "-cf", packed, "."])
            _run(["podman", "import", "--quiet", packed, name])
    return name


def _mirror() -> str:
    """Where this machine has Debian's packages from."""
    listed = subprocess.run(["apt-get", "indextargets"], check=True, capture_output=True, text=True).stdout
    if found := re.search(r"^URI: (\S+?)/dists/bookworm/main/", listed, re.MULTILINE):
        return found[1]
    raise SystemExit("this machine has no packages of Debian 12: name an image with Python 3.11 by --base")


def _cache() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ion" / "images"
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    with (place / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str]) -> None:
    """What it says goes to stderr: stdout is for the archives' names."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="", help="the image that the Dockerfiles stand on; it has Python 3.11")
    parser.add_argument("names", nargs="*", default=["ion"], choices=sorted(NAMES))
    asked = parser.parse_args()
    for image in asked.names:
        print(archive(image, asked.base))
