"""What a store's blobs take up, by module, by flow or by kind: one listing, of which only sums are held."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ion.management.needed import Owners, Part, part_of
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger

NOBODY = ""
"""The module and flow of a blob whose job is in no row."""


class By(StrEnum):
    """What sums are made for. By flow, memory grows with the number of flows."""

    MODULE = "module"
    FLOW = "flow"
    KIND = "kind"


class Sum(msgspec.Struct):
    """Bytes by part, and how many blobs they are in."""

    bytes: dict[Part, int]
    blobs: int = 0

    def add(self, part: Part, size: int) -> None:
        self.bytes[part] += size
        self.blobs += 1

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


def empty_sum() -> Sum:
    return Sum(dict.fromkeys(Part, 0))


async def usage(ledger: Ledger, documents: Documents, blobs: Blobs, by: By) -> Mapping[str, Sum]:
    """The sums, the largest first."""
    owners = Owners(ledger, documents, blobs)
    sums: dict[str, Sum] = {}
    async for blob in blobs.list(""):
        owner = await owners.of(blob.path)
        part = part_of(blob.path) if await owners.need(blob.path) else Part.STRAYS
        match by:
            case By.MODULE:
                key = owner.module if owner else NOBODY
            case By.FLOW:
                key = owner.flow if owner else NOBODY
            case By.KIND:
                key = part.value
        sums.setdefault(key, empty_sum()).add(part, blob.size)
    return dict(sorted(sums.items(), key=lambda item: -item[1].total))


def in_all(sums: Mapping[str, Sum]) -> Sum:
    """The sum of sums."""
    total = empty_sum()
    for one in sums.values():
        for part, size in one.bytes.items():
            total.bytes[part] += size
        total.blobs += one.blobs
    return total
