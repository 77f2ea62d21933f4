"""Manifests as blobs: an execution's results exist once its manifest does."""

import hashlib

import msgspec

from ion.errors import InvalidError, NotFoundError
from ion.model.manifest import INLINE_LIMIT, Manifest, ManifestRef, manifest_path
from ion.ports.blobs import Blobs


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def reference(manifest: Manifest, raw: bytes) -> ManifestRef:
    """What the ledger keeps of a manifest whose stored bytes are `raw`."""
    return ManifestRef(
        blob=manifest_path(manifest.job, manifest.attempt, manifest.execution),
        sha256=hashlib.sha256(raw).hexdigest(),
        execution=manifest.execution,
        files=len(manifest.files),
        events=len(manifest.events),
        insights=len(manifest.insights),
        inline=raw.decode() if len(raw) <= INLINE_LIMIT else "",
        log=manifest.log.blob if manifest.log else "",
        started_at=manifest.started_at,
        ended_at=manifest.ended_at,
    )


async def stored(blobs: Blobs, blob: str) -> ManifestRef:
    """The reference to a stored manifest. Raises NotFoundError; InvalidError if another version wrote it."""
    raw = await blobs.get_bytes(blob)
    try:
        return reference(msgspec.json.decode(raw, type=Manifest), raw)
    except msgspec.MsgspecError as error:
        raise InvalidError(f"the manifest {blob} cannot be read by this version of Ion: {error}") from error


async def find(blobs: Blobs, job: str, attempt: int) -> ManifestRef | None:
    """The manifest of an attempt: of several, the oldest."""
    prefix = f"{job}/{attempt}/"
    found = [
        (blob.modified_s, blob.path)
        async for blob in blobs.list(prefix)
        if blob.path.endswith("/manifest.json") and blob.path.count("/", len(prefix)) == 1
    ]
    for _, path in sorted(found):
        try:
            return await stored(blobs, path)
        except NotFoundError:
            continue  # an execution that lost is being cleared away
    return None
