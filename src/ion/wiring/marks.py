"""Whether a folder of blobs is the one that its ledger means, where the ledger is on a server and the blobs are not.

The folder has a mark, a random id, and the ledger keeps the mark of the folder with which it was first served. Hosts
that share the folder see the same mark; a host that has only a folder of the same name does not, and would miss what
others stored. Neither side changes its id: of two hosts that start at once the ledger takes one mark, and the other
host is refused.
"""

import errno
import os
import uuid
from pathlib import Path
from typing import Protocol

from ion.errors import UnavailableError, UnsupportedError

MARK = ".mark"
"""A folder with an empty one in it, which has the id for a name: no blob is ever a folder, so it is none of theirs."""


class Once(Protocol):
    """A database that keeps the first value that it is given under a name."""

    @property
    def store(self) -> str: ...

    async def once(self, name: str, value: str = "") -> str: ...


async def check_mark(database: Once, blobs: Path, *, serves: bool) -> None:
    """Refuses a folder of blobs that is not the ledger's. Who only looks marks nothing; who `serves` marks the first.

    Raises:
        UnsupportedError: the ledger knows another folder.
        UnavailableError: the ledger is away, or the folder cannot be marked now.
    """
    known = await database.once("blobs")
    if not known and serves:
        known = await database.once("blobs", _marked(blobs))
    if known and known not in _marks_of(blobs):
        raise UnsupportedError(
            f"the files that {database.store} tells of are not in {blobs} but in a folder on another host: share that "
            "folder with this host, or set blobs to an object store; if it is lost for good, mark this one instead: "
            f"mkdir -p {blobs / MARK / known}"
        )


def _marks_of(blobs: Path) -> list[str]:
    """One, as a rule; a person may have added that of a folder that was lost."""
    try:
        return sorted(os.listdir(blobs / MARK))  # noqa: PTH208  an iterator would have to be closed
    except FileNotFoundError:
        return []


def _marked(blobs: Path) -> str:
    """Marks a folder, unless somebody else was quicker; its mark."""
    made = blobs / ".tmp" / uuid.uuid4().hex
    mine = uuid.uuid4().hex
    try:
        (made / mine).mkdir(parents=True)
        try:
            made.rename(blobs / MARK)
        except OSError as error:
            (made / mine).rmdir()
            made.rmdir()
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    except OSError as error:
        raise UnavailableError(f"{blobs} cannot be marked ({error.strerror}); free or mend that place") from error
    return _marks_of(blobs)[0]
