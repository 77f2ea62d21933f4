"""Strays: blobs that no row needs, left by attempts that lost and by root events that were not accepted.

What is being stored just now looks the same for a while: the row of a root event comes after its files. So an
execution's strays go only when all it stored is older than a day (large files may take hours, and are seen only when
they are whole), and only after a second look, which reads its row and its blobs again. An attempt that may still win is
`running`, and then all of it is needed; attempts are counted up, so one that is over stays over.
"""

import time
from collections.abc import AsyncIterator, Callable

import msgspec

from ion.management.needed import Owners, execution_of
from ion.ports.blobs import Blobs
from ion.ports.documents import Documents
from ion.ports.ledger import Ledger

OLD_S = 86_400.0
BATCH = 500


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """What of one execution nobody needs: its prefix, the paths, their bytes in all."""

    prefix: str
    paths: frozenset[str]
    size: int


async def find_strays(
    ledger: Ledger, documents: Documents, blobs: Blobs, clock: Callable[[], float] = time.time
) -> AsyncIterator[Stray]:
    """The strays that may go now. Holds the prefixes of a few hundred executions at most."""
    owners = Owners(ledger, documents, blobs)
    suspects: dict[str, None] = {}
    async for blob in blobs.list(""):
        prefix = execution_of(blob.path)
        if prefix and prefix not in suspects and _is_old(blob.modified_s, clock) and not await owners.need(blob.path):
            suspects[prefix] = None
        if len(suspects) >= BATCH:
            for one in suspects:
                if (stray := await _second_look(one, Owners(ledger, documents, blobs), blobs, clock)) is not None:
                    yield stray
            suspects = {}
    for one in suspects:
        if (stray := await _second_look(one, Owners(ledger, documents, blobs), blobs, clock)) is not None:
            yield stray


async def _second_look(prefix: str, owners: Owners, blobs: Blobs, clock: Callable[[], float]) -> Stray | None:
    """The blobs first, then the row: what is stored later than the row was read is not among those looked at."""
    stored = [blob async for blob in blobs.list(prefix)]
    if not all(_is_old(blob.modified_s, clock) for blob in stored):
        return None
    left = [blob for blob in stored if not await owners.need(blob.path)]
    if not left:
        return None
    return Stray(prefix=prefix, paths=frozenset(blob.path for blob in left), size=sum(blob.size for blob in left))


def _is_old(modified_s: float, clock: Callable[[], float]) -> bool:
    return modified_s < clock() - OLD_S
