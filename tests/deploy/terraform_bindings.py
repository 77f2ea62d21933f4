"""What Terraform's providers really take, as packages tell it that are generated of their schemas.

The providers come from a registry of their own, which a test may not reach. For each of them CDK Terrain publishes a
package of bindings, made by a program of `terraform providers schema`: the arguments' names, types, which are needed.
Such a package is fetched once, and of it is kept what describes the resources that are asked for, in the user's cache.
"""

import fcntl
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tests.stores.server import lacking

CACHE = Path.home() / ".cache" / "ion-events"
BINDINGS = {"azurerm": "18.9.0", "helm": "15.1.0", "kubernetes": "17.1.0", "random": "15.0.1", "tls": "14.1.1"}
"""By provider the version of its bindings, each of which is of one version of the provider."""
_MADE_OF = re.compile(r"registry\.terraform\.io/providers/hashicorp/\w+/([\d.]+)/docs")
_KIND = re.compile(r'static readonly tfResourceType = "(\w+)"')
_CONFIG = re.compile(
    r"export interface (\w+) extends cdktn\.TerraformMetaArguments|export interface (\w+ProviderConfig) "
)
_INTERFACE = re.compile(r"export interface (\w+)[^{]*\{\n(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"#(\w+) \w+#\w+\}[^}]*?\*/\s*readonly \w+(\??): (\{[^}]*\}[^;]*|[^;{]*);")
_MAP = re.compile(r"\{ ?\[key: string\]: ([^;]*);? ?\}(?:\[\])?")
_CLASS = re.compile(r"export declare class \w+ extends cdktn\.Terraform.*?\n\}", re.DOTALL)
_SIMPLE = {"string": "string", "number": "number", "boolean": "bool"}


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is as Terraform writes types, or, of a block or an object, its own arguments by name."""

    needed: bool
    type: Any


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said to a resource, and the names of all that it tells."""

    version: str
    arguments: Mapping[str, Argument]
    told: frozenset[str]


def schemas(provider: str, kinds: Iterable[str]) -> dict[str, Schema]:
    """Of these kinds of resources, and of the provider itself under its own name; what it does not have is left out."""
    version = BINDINGS[provider]
    folder = CACHE / f"terraform-{provider}-{version}"
    wanted = {provider, *kinds}
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "terraform.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((folder / f"{kind}.d.ts").exists() for kind in wanted):
            for kind, text in _fetched(provider, version, wanted):
                part = folder / f"{kind}.part"
                part.write_text(text)
                part.rename(folder / f"{kind}.d.ts")
    found = {kind: folder / f"{kind}.d.ts" for kind in wanted}
    return {kind: _schema(file.read_text()) for kind, file in found.items() if file.exists()}


def _fetched(provider: str, version: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """The declarations of what is wanted, out of the archive inside of the package."""
    with tempfile.TemporaryDirectory() as place:
        package = f"cdktn-provider-{provider}=={version}"
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        command = (*pip, "--no-deps", "--only-binary=:all:", "--dest", place, package)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lacking(f"pip cannot fetch {package}: {done.stderr[-500:]}")
        (wheel,) = Path(place).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            (inner,) = (name for name in packed.namelist() if name.endswith(".jsii.tgz"))
            with packed.open(inner) as stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.name.endswith("/index.d.ts") else None
                    text = file.read().decode() if file else ""
                    if (kind := _kind(member.name, text)) in wanted:
                        yield kind, text


def _kind(path: str, text: str) -> str:
    """`data.` stands before a source of data, as in Terraform; the provider itself has its own name."""
    found = _KIND.search(text)
    before = "data." if "/lib/data-" in path else ""
    return f"{before}{found[1]}" if found else ""


def _schema(text: str) -> Schema:
    interfaces = dict(_INTERFACE.findall(text))
    config = _CONFIG.search(text)
    version, whole = _MADE_OF.search(text), _CLASS.search(text)
    assert config is not None
    assert version is not None
    assert whole is not None
    return Schema(
        version=version[1],
        arguments=_arguments(config[1] or config[2], interfaces),
        told=frozenset(_snake(name) for name in re.findall(r"get (\w+)\(\)", whole[0])),
    )


def _arguments(interface: str, interfaces: Mapping[str, str]) -> dict[str, Argument]:
    return {
        name: Argument(needed=not may, type=_type(" ".join(said.split()), interfaces))
        for name, may, said in _FIELD.findall(interfaces[interface])
    }


def _type(said: str, interfaces: Mapping[str, str]) -> Any:
    said = said.removesuffix(" | cdktn.IResolvable")
    if said in _SIMPLE:
        return _SIMPLE[said]
    if found := _MAP.fullmatch(said):
        return ["map", _type(found[1], interfaces)]
    if said in interfaces:
        return _arguments(said, interfaces)
    assert said.endswith("[]"), said
    inner = _type(said.removesuffix("[]").strip("()"), interfaces)
    return inner if isinstance(inner, dict) else ["list", inner]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
