"""Signatures of Azure are those of Microsoft's own SDKs, also of what no server here can check."""

from datetime import UTC, datetime
from urllib.parse import parse_qs

import msgspec
import pytest
from tests.stores.azurite import KEY

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_sas import Resource, token
from ion.adapters.blobs.objects_settings import ObjectsSettings

SETTINGS = ObjectsSettings(url="az://ion/production", account="acme", account_key=KEY)
UNTIL = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("resource", "name", "permissions", "signature"),
    [
        (Resource.BLOB, "production/j/1/a b.png", "r", "Pxt6cFkMS9Bbn+j5nQLNU50VA42M7GHKWeBfmxiEDfc="),
        (Resource.CONTAINER, "", "c", "TFnamo5mhPBk4M8O42kmXq8LgaDF006UV6EETG8mXfs="),
        (Resource.FOLDER, "production/j/1", "rc", "eADVl/DL45b5Ba3gZAxMRFXswDbe+e57jKh8EHWH9H4="),
    ],
)
def test_a_signature_is_that_of_the_vendor(resource: Resource, name: str, permissions: str, signature: str) -> None:
    """The same as azure-storage-blob 12.31.1 and azure-storage-file-datalake 12.26.1 make of the same."""
    query = parse_qs(token(SETTINGS, resource, name, permissions, UNTIL))
    assert query["sig"] == [signature]
    assert (query["sr"], query["sp"], query["se"]) == ([resource], [permissions], ["2030-01-02T03:04:05Z"])
    assert query["spr"] == ["https"]
    assert query.get("sdd") == (["3"] if resource is Resource.FOLDER else None)


async def test_of_a_hierarchical_account_writing_is_narrow() -> None:
    """The writing signature is of the attempt's folder, for creating and reading what is there."""
    blobs = ObjectBlobs(msgspec.structs.replace(SETTINGS, hierarchical=True))
    assert blobs.guarantees.narrows_writes
    grant = await blobs.narrowed(["r/1/x/data/a"], "job/1/", 60)
    query = parse_qs(grant.content["writes"]["sas"])
    assert (query["sr"], query["sp"], query["sdd"]) == (["d"], ["rc"], ["3"])
    plain = await ObjectBlobs(SETTINGS).narrowed([], "job/1/", 60)
    query = parse_qs(plain.content["writes"]["sas"])
    assert (query["sr"], query["sp"]) == (["c"], ["c"])
