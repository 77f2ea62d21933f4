"""What a module finds in `in/data` of a pod."""

import hashlib

from tests.cluster.attempts import Place, ended, place

from ion.adapters.blobs.objects import ObjectBlobs
from ion.model.event import FileRef
from ion.ports.executor import Phase
from ion.testing.conformance.executor import root_event

__all__ = ["place"]

CONTENT = b"as it was stored"
TRIES = """
cd "$ION_DIR"
if echo changed > in/data/a.txt || rm -f in/data/a.txt; then exit 9; fi
ln -s ../../in/data/a.txt out/data/passed-on.txt
cat in/data/a.txt > out/data/copied.txt
"""


async def test_a_module_cannot_change_its_inputs_but_may_pass_them_on(place: Place) -> None:
    """As in a container on one machine: `in/data` is read-only, whoever the module runs as."""
    async with ObjectBlobs(place.store) as blobs:
        await blobs.put_bytes("root/1/x/data/a.txt", CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = FileRef(path="a.txt", blob="root/1/x/data/a.txt", size=len(CONTENT), sha256=digest)
    status = await ended(place, place.assignment(TRIES, event=root_event(file)))
    assert (status.phase, status.failure) == (Phase.SUCCEEDED, None)
    assert status.manifest is not None
    assert status.manifest.files == 2
    assert b"Read-only file system" in await place.stored(status.log)
