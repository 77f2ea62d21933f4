"""Builds Kubernetes from Debian's source package: about five minutes on two cores, once for a machine.

Debian 12 has the source of Kubernetes, with all that it depends on, but packages only kubectl. What is built lies in
the cache folder, each program complete or absent: it is renamed into place when the compiler is done.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.places import VERSION, binaries, cache

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PACKAGE = "k8s.io/kubernetes"
_OPENAPI = "pkg/generated/openapi/zz_generated.openapi.go"
_ITERATOR = """t, h, buckets, bptr unsafe.Pointer // as Go's own, from 1.18 to 1.23
	overflow, oldoverflow *[]unsafe.Pointer
	startBucket uintptr
	offset uint8
	wrapped bool
	B, i uint8
	bucket, checkBucket uintptr"""
_MARK = re.compile(rb"^\s*//\s*\+k8s:openapi-gen=true", re.MULTILINE)


def why_not_built() -> str:
    """Why the programs are not here and cannot be built, in one sentence; empty if they are or can."""
    if not _absent():
        return ""
    if gone := [name for name in ("go", "dpkg-source", "apt-get") if shutil.which(name) is None]:
        return f"not here: {', '.join(gone)}, to build Kubernetes with; on Debian 12 `make system` installs them"
    if not _source_lines():
        return "Kubernetes is built from Debian 12's source package, and this machine has its packages from elsewhere"
    return ""


def built() -> Path:
    """The folder of the programs, which are built if they are not there.

    Raises:
        CalledProcessError: a step failed; what it said is on stderr.
    """
    folder = binaries()
    with _locked():
        if absent := _absent():
            folder.mkdir(parents=True, exist_ok=True)
            source = _source()
            for name in absent:
                print(f"» building {name} of Kubernetes {VERSION}", flush=True)
                _build(source, name, folder)
            shutil.rmtree(cache() / "src")  # two gigabytes
    return folder


def _absent() -> Sequence[str]:
    return [name for name in PROGRAMS if not (binaries() / name).exists()]


@contextmanager
def _locked() -> Iterator[None]:
    with (cache() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---- the source ---------------------------------------------------------------------------------------------------


def _source() -> Path:
    """The unpacked source, as a Go path has it."""
    place = cache() / "src" / "src" / PACKAGE
    if not place.exists():
        print("» the source of Kubernetes, from Debian", flush=True)
        archive = _fetched(cache() / "fetched")
        draft = place.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _run(["tar", "-xf", str(archive), "-C", str(draft), "--strip-components=1"])
        _mend(draft)
        draft.rename(place)
    return place


def _mend(source: Path) -> None:
    """Two things that are otherwise in a release.

    The version: an archive has a placeholder. And a library that reaches into Go's own maps, as they were before 1.18:
    it has to make the iterator itself since. Without that an API server crashes after some thousand answers.
    """
    for library in ("component-base/version", "client-go/pkg/version"):
        _replace(source / "staging/src/k8s.io" / library / "base.go", r'"v0\.0\.0-master[^"]*"', f'"{VERSION}"')
    reflect2 = source / "vendor/github.com/modern-go/reflect2"
    _replace(reflect2 / "unsafe_link.go", r"(func mapiterinit\(.*m unsafe\.Pointer)\) \*hiter", r"\1, it *hiter)")
    _replace(reflect2 / "unsafe_link.go", "// rest fields are ignored", _ITERATOR)
    _replace(reflect2 / "unsafe_map.go", r"(?m)^(\treturn &UnsafeMapIterator{\n\t\thiter: +)(mapiterinit\(.*)\),$",
             "\tit := new(hiter)\n\t\\2, it)\n\\1it,")  # fmt: skip


def _replace(file: Path, pattern: str, by: str) -> None:
    text, count = re.subn(pattern, by, file.read_text())
    if count != 1:
        raise ValueError(f"{file} is not what it was: {pattern} is {count} times in it")
    file.write_text(text)


def _fetched(folder: Path) -> Path:
    """The package's archive, by an apt of its own: the machine's lists of packages stay as they are."""
    if not folder.exists():
        draft = folder.with_name("fetching")  # a part of an archive would have the name of the whole
        shutil.rmtree(draft, ignore_errors=True)
        _fetch(draft)
        draft.rename(folder)
    return next(iter(folder.glob("kubernetes_*.orig.tar.*")))


def _fetch(folder: Path) -> None:
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources.list").write_text(_source_lines())
    options: dict[str, Path | str] = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        "APT::Sandbox::User": "root",  # another user does not reach the folder
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], cwd=folder)
    _run([*apt, "source", "--download-only", "kubernetes"], cwd=folder)


def _source_lines() -> str:
    """Where this machine has Debian's programs from, their sources are too."""
    found: set[str] = set()
    for file in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if file.exists():
            text = file.read_text()
            found |= set(re.findall(r"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+bookworm\s", text, re.MULTILINE))
            for part in text.split("\n\n"):
                suites = re.search(r"^Suites:(.*)$", part, re.MULTILINE)
                if suites and "bookworm" in suites[1].split():
                    found |= set(re.findall(r"^URIs:\s*(\S+)", part, re.MULTILINE))
    return "".join(f"deb-src {uri} bookworm main\n" for uri in sorted(found))


# ---- the programs -------------------------------------------------------------------------------------------------


def _build(source: Path, name: str, folder: Path) -> None:
    if name == "kube-apiserver" and not (source / _OPENAPI).exists():
        _generate(source)
    told = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": "20"}
    where = f"{PACKAGE}/vendor/k8s.io/component-base/version"
    flags = " ".join(["-s -w", *(f"-X {where}.{key}={value}" for key, value in told.items())])
    draft = folder / f".{name}"
    _run(["go", "build", "-ldflags", flags, "-o", str(draft), f"./cmd/{name}"], cwd=source, environ=_go())
    draft.rename(folder / name)


def _generate(source: Path) -> None:
    """The description of the API, which the server is built with, from the types that are marked for it."""
    print("» the description of the Kubernetes API", flush=True)
    tool, draft = cache() / "src" / "openapi-gen", cache() / "src" / "generated"
    _run(["go", "build", "-o", str(tool), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen"], cwd=source, environ=_go())
    _run(
        [
            str(tool),
            "--output-file-base",
            "zz_generated.openapi",
            "--output-package",
            f"{PACKAGE}/pkg/generated/openapi",
            "--output-base",
            str(draft),
            "--go-header-file",
            "hack/boilerplate/boilerplate.generatego.txt",
            "--report-filename",
            "/dev/null",
            "--input-dirs",
            ",".join(_marked(source)),
        ],
        cwd=source,
        environ=_go(),
    )
    (draft / PACKAGE / _OPENAPI).rename(source / _OPENAPI)


def _marked(source: Path) -> Sequence[str]:
    """The packages whose types are in the API's description."""
    found = set()
    for top in ("pkg", "staging/src"):
        for file in (source / top).rglob("*.go"):
            if "testdata" not in file.parts and _MARK.search(file.read_bytes()):
                found.add(file.parent.relative_to(source).as_posix())
    return sorted(
        f"{PACKAGE}/vendor/{name.removeprefix('staging/src/')}" if name.startswith("staging/") else f"{PACKAGE}/{name}"
        for name in found
    )


def _go() -> Mapping[str, str]:
    return {
        **os.environ,
        "GOPATH": str(cache() / "src"),
        "GOCACHE": str(cache() / "src" / "go-build"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
    }


def _run(command: Sequence[str], *, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, env=environ, check=True, stdin=subprocess.DEVNULL)
