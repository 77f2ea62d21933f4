"""The object stores, on real servers, against the suite of every adapter.

Google Cloud Storage is left out: what imitates it speaks its JSON interface, and the client its XML one.
"""

import uuid
from contextlib import AbstractAsyncContextManager

import pytest
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.ports.blobs import Blobs
from ion.testing.conformance.blobs import BlobsConformance


class TestAzureBlobs(BlobsConformance):
    @pytest.fixture(autouse=True)
    def place(self, azurite: ObjectServer) -> None:
        self.settings = azurite.fresh(f"t-{uuid.uuid4().hex}")

    def open_blobs(self) -> AbstractAsyncContextManager[Blobs]:
        return ObjectBlobs(self.settings)

    def elsewhere(self) -> str:
        shown = {name: getattr(self.settings, name) for name in self.settings.__struct_fields__}
        return f"""
from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_settings import ObjectsSettings

def open_blobs():
    return ObjectBlobs(ObjectsSettings(**{shown!r}))
"""


class TestS3Blobs(TestAzureBlobs):
    @pytest.fixture(autouse=True)
    def place(self, seaweed: ObjectServer) -> None:
        self.settings = seaweed.fresh(f"t-{uuid.uuid4().hex}")
