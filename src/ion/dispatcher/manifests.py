"""The manifest of a committed job, wherever it lies."""

import msgspec

from ion.model.manifest import Manifest, ManifestRef
from ion.ports.blobs import Blobs


async def load_manifest(ref: ManifestRef, blobs: Blobs) -> Manifest:
    """From the row if it is there, else from its blob. Raises NotFoundError where that is gone."""
    text = ref.inline.encode() or await blobs.get_bytes(ref.blob, most=1 << 30)
    return msgspec.json.decode(text, type=Manifest)
