"""What a store's folder remembers, so that every command opens what the last pipeline that was served there named."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ion.config.backends import Backend, recalled, without_secrets
from ion.config.buses import BUSES
from ion.config.settings import Guards, Settings
from ion.config.stores import BLOBS, DOCUMENTS, LEDGERS
from ion.config.tables import Section
from ion.model.retention import Retention

STORE_NAME = ".ion"
REMEMBERED = "settings.json"


def find_store(start: Path, explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The store to work on: the one named, else `ION_HOME`, else `.ion` here or in a folder above."""
    if explicit is not None:
        return Path(os.path.abspath(explicit))  # noqa: PTH100  `..` is taken out, links stay
    if home := environ.get("ION_HOME"):
        return Path(home).absolute()
    start = start.absolute()
    return next((f / STORE_NAME for f in (start, *start.parents) if is_store(f / STORE_NAME)), None)


def is_store(folder: Path) -> bool:
    """Whether a store has ever been opened there."""
    return (folder / REMEMBERED).is_file() or (folder / "ion.db").is_file()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One backend as it is written down, without its secrets."""

    kind: str
    options: dict[str, Any] = {}


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What of a pipeline's settings holds for everybody who opens its store, whichever command it is."""

    synchronous: str = "normal"
    max_jobs: int = Guards().max_jobs
    retention: Retention = Retention()
    places: dict[str, Place] = {}


_PORTS: Mapping[str, Mapping[str, Section[Backend]]] = {
    "ledger": LEDGERS,
    "documents": DOCUMENTS,
    "bus": BUSES,
    "blobs": BLOBS,
}


def remembered(store: Path) -> Settings:
    """What the last pipeline that was served on this store said; the defaults on a new one."""
    try:
        kept = msgspec.json.decode((store / REMEMBERED).read_bytes(), type=Remembered)
        places: dict[str, Any] = {
            port: recalled(_PORTS[port], place.kind, place.options) for port, place in kept.places.items()
        }
    except (FileNotFoundError, msgspec.MsgspecError):  # none yet, or torn by a power cut
        return Settings()
    guards = Guards(max_jobs=kept.max_jobs)
    return Settings(synchronous=kept.synchronous, guards=guards, retention=kept.retention, **places)


def remember(store: Path, settings: Settings) -> None:
    """What is in memory is not there for others to open."""
    said = {port: getattr(settings, port) for port in _PORTS}
    kept = Remembered(
        synchronous=settings.synchronous,
        max_jobs=settings.guards.max_jobs,
        retention=settings.retention,
        places={
            port: Place(kind=backend.kind, options=without_secrets(backend))
            for port, backend in said.items()
            if backend is not None and backend.kind != "memory"
        },
    )
    content = msgspec.json.encode(kept)
    file = store / REMEMBERED
    if not file.exists() or file.read_bytes() != content:
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(file)
