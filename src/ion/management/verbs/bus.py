"""Verbs on the bus."""

from abc import ABC, abstractmethod
from datetime import datetime

import msgspec


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How many events wait in the bus for a module."""

    module: str
    group: str
    depth: int


class Depths(msgspec.Struct, frozen=True, kw_only=True):
    """Of every module that subscribes; `notes` say what the figures of this bus leave out."""

    depths: tuple[Depth, ...] = ()
    notes: tuple[str, ...] = ()


class Republished(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were published again, and how many jobs that started."""

    events: int = 0
    started: int = 0


class BusVerbs(ABC):
    @abstractmethod
    async def depths(self) -> Depths: ...

    @abstractmethod
    async def replay(self, *, since: datetime, module: str = "", dry: bool = False) -> Republished:
        """Publishes again what jobs raised since; with `module` only that one gets what it missed."""
