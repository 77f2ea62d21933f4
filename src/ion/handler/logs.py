"""The log of an attempt whose end nobody saw: what is stored of it while it ran is put together."""

import tempfile
from contextlib import suppress
from pathlib import Path

from ion.errors import ExistsError
from ion.model.manifest import Piece, attempt_prefix, log_path, log_pieces, pieces_prefix
from ion.ports.blobs import Blobs


async def find(blobs: Blobs, job: str, attempt: int) -> str:
    """The blob path of an attempt's log, empty if nothing of it is stored."""
    paths = [blob.path async for blob in blobs.list(attempt_prefix(job, attempt))]
    whole = sorted(path for path in paths if path.count("/") == 3 and path.endswith("/log.txt"))
    if whole:
        return whole[0]
    pieces = log_pieces(paths)
    return await _joined(blobs, job, attempt, pieces) if pieces else ""


async def _joined(blobs: Blobs, job: str, attempt: int, pieces: list[Piece]) -> str:
    """Stores the pieces as one log; then they are of no more use."""
    execution = pieces[0].execution
    path = log_path(job, attempt, execution)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log"
        with file.open("wb") as stream:
            for piece in pieces:
                async for chunk in blobs.read(piece.path, start=piece.first - piece.at):
                    stream.write(chunk)
        with suppress(ExistsError):  # another dispatcher was quicker
            await blobs.put(path, file)
    await blobs.delete(pieces_prefix(job, attempt, execution))
    return path
