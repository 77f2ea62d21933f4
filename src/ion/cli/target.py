"""Which Ion a command works on, and how it is reached.

Each option by itself is taken from the first of these that has it:

    the command line       --endpoint, --timeout, --certfile, --keyfile, --cacertfile, --store
    a context named there  --context
    the environment        ION_ENDPOINT, ION_TIMEOUT, ION_CERTFILE, ION_KEYFILE, ION_CACERTFILE, ION_HOME (the store)
    the context in use     ION_CONTEXT, else `context` in the file
    the file               ~/.ioncli.yaml, or --config

An endpoint and a store exclude one another: the one that is met first counts, and in the environment the endpoint is
met first. With neither it is the store `.ion` here or in a folder above, else localhost:9000.

The original took names without a prefix from the environment as well. They are not taken here: TIMEOUT and ENDPOINT
are set on many hosts for other programs, and a command for the wrong Ion does harm.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ion.cli.client_config import OPTIONS, PATHS, ClientConfig, load_config
from ion.errors import InvalidError, NotFoundError

PORT = 9000
LOCALHOST = f"localhost:{PORT}"
TIMEOUT_S = 30.0
ENVIRONMENT = {
    "endpoint": "ION_ENDPOINT",
    "store": "ION_HOME",
    "timeout": "ION_TIMEOUT",
    "certfile": "ION_CERTFILE",
    "keyfile": "ION_KEYFILE",
    "cacertfile": "ION_CACERTFILE",
}
_ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:/\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


class Layer(msgspec.Struct, frozen=True):
    """One place that options come from: what people call it, and what it says."""

    name: str
    says: Mapping[str, str]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An Ion: the store at `store`, else the one that listens at `endpoint`.

    `named`: somebody said so; else it is a guess. `origins` names, by option, where it was said.
    """

    store: Path | None = None
    endpoint: str = ""
    timeout_s: float = TIMEOUT_S
    certfile: Path | None = None
    keyfile: Path | None = None
    cacertfile: Path | None = None
    named: bool = True
    context: str = ""
    origins: Mapping[str, str] = {}


def choose(flags: Mapping[str, Any], environ: Mapping[str, str], start: Path) -> Target:
    """The Ion that the options of the command line, the environment and the file come to.

    Args:
        flags: The global options by name; None where one was not given.
        environ: The environment.
        start: The folder that the command was given in.

    Raises:
        InvalidError: an option cannot be used.
    """
    from ion.wiring import find_store

    config = load_config(flags.get("config"))
    context = in_use(flags, environ, config)
    layers = _layers(flags, environ, config, context)
    said = {name: found for name in OPTIONS if (found := _first(layers, name))}
    place = next((name for layer in layers for name in ("endpoint", "store") if name in layer.says), "")
    target = Target(
        timeout_s=_timeout(*said["timeout"]) if "timeout" in said else TIMEOUT_S,
        certfile=_path(said, "certfile"),
        keyfile=_path(said, "keyfile"),
        cacertfile=_path(said, "cacertfile"),
        named=bool(place),
        context=context,
        origins={
            name: origin for name, (_, origin) in said.items() if name == place or name not in ("endpoint", "store")
        },
    )
    if place == "endpoint":
        return msgspec.structs.replace(target, endpoint=check_endpoint(*said["endpoint"]))
    store = find_store(start, Path(said["store"][0]).expanduser() if place == "store" else None, {})
    return msgspec.structs.replace(target, store=store, endpoint="" if store else LOCALHOST)


def in_use(flags: Mapping[str, Any], environ: Mapping[str, str], config: ClientConfig) -> str:
    """The name of the context to use, whether there is one of it or not; empty for none."""
    return str(flags.get("context") or environ.get("ION_CONTEXT") or config.context)


def _layers(flags: Mapping[str, Any], environ: Mapping[str, str], config: ClientConfig, context: str) -> list[Layer]:
    given = {name: str(flags[name]) for name in OPTIONS if flags.get(name) not in (None, "")}
    if "endpoint" in given and "store" in given:
        raise InvalidError("--endpoint and --store exclude one another: a command works on one Ion; leave one out")
    layers = [
        Layer("the command line", given),
        Layer("the environment", {name: environ[key] for name, key in ENVIRONMENT.items() if environ.get(key)}),
        Layer(str(config.file), config.options),
    ]
    if context:
        layers.insert(1 if flags.get("context") else 2, Layer(f"context {context}", config.of_context(context)))
    return layers


def _first(layers: list[Layer], name: str) -> tuple[str, str] | None:
    return next(((layer.says[name], layer.name) for layer in layers if name in layer.says), None)


def _path(said: Mapping[str, tuple[str, str]], name: str) -> Path | None:
    return Path(said[name][0]).expanduser().absolute() if name in said and name in PATHS else None


def _timeout(text: str, origin: str) -> float:
    from ion.cli.when import lasting

    seconds = lasting(f"the timeout (from {origin})", text)
    if not seconds:
        raise InvalidError(f"the timeout (from {origin}) must be longer than no time at all")
    return seconds


def check_endpoint(text: str, origin: str) -> str:
    """`HOST:PORT`; without a port it is 9000. Raises InvalidError."""
    found = _ENDPOINT.fullmatch(text.strip())
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 65_536:
        raise InvalidError(
            f"the endpoint '{text}' (from {origin}) cannot be used: write HOST:PORT, such as ion.acme:9000"
        )
    return f"{found['host']}:{port}"


def check_store(store: Path) -> Path:
    """Raises NotFoundError: no store has ever been opened there. A look makes none."""
    from ion.wiring import is_store

    if not is_store(store):
        raise NotFoundError(f"{store} is no store: run a pipeline first (`ion run`), or name another by --store")
    return store
