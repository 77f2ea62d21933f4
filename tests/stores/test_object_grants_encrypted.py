"""Grants where the store is encrypted, by an authority that only whoever granted knows."""

import os
import ssl
import uuid
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import pytest
from tests.stores.azurite import Azurite
from tests.stores.http_proxy import HttpProxy
from tests.stores.seaweed import Seaweed
from tests.stores.server import Tls, made_tls

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_narrow import NarrowBlobs
from ion.adapters.blobs.objects_settings import MIB, ObjectsSettings
from ion.errors import UnavailableError
from ion.ports.blobs import Grant

LARGE = 12 * MIB + 17
"""Bytes: three parts."""


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return made_tls(tmp_path)


async def carried(settings: ObjectsSettings, tls: Tls, folder: Path) -> Grant:
    """A grant is made, and used where the authority's file is not; what comes and goes is whole."""
    content = os.urandom(LARGE)
    (folder / "large").write_bytes(content)
    async with ObjectBlobs(settings) as blobs:
        await blobs.put("root/1/x/data/in", folder / "large")
        grant = await blobs.narrowed(["root/1/x/data/in"], "job/1/", 600)
        tls.ca.rename(folder / "kept.pem")
        async with NarrowBlobs(grant) as narrow:
            assert await narrow.get_bytes("root/1/x/data/in") == content
            await narrow.put("job/1/x/large", folder / "large")
            await narrow.put_bytes("job/1/x/small", b"small")
        assert await blobs.get_bytes("job/1/x/large") == content
        assert await blobs.get_bytes("job/1/x/small") == b"small"
    return grant


async def test_a_grant_brings_the_authority_with_it_on_azure(tls: Tls, tmp_path: Path) -> None:
    """Its tokens are good for an encrypted line alone; and whoever lacks the authority is told of it."""
    with Azurite(tmp_path / "server", tls) as server:
        settings = server.fresh(f"t-{uuid.uuid4().hex}")
        grant = await carried(settings, tls, tmp_path)
        assert parse_qs(grant.content["writes"]["sas"])["spr"] == ["https"]
        del grant.content["settings"]["ca"]
        async with NarrowBlobs(grant) as narrow:
            with pytest.raises(UnavailableError, match="certificate is not trusted"):
                await narrow.put("job/1/x/other", tmp_path / "large")
            with pytest.raises(UnavailableError, match="certificate is not trusted"):
                await narrow.put_bytes("job/1/x/other", b"")


async def test_a_grant_brings_the_authority_with_it_on_s3(seaweed: Seaweed, tls: Tls, tmp_path: Path) -> None:
    """Whoever issues the session is asked over the encrypted line as well."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    async with HttpProxy(seaweed.port, context) as proxy:
        settings = seaweed.role(seaweed.fresh(f"t-{uuid.uuid4().hex}"))
        encrypted = msgspec.structs.replace(
            settings, endpoint=f"https://127.0.0.1:{proxy.port}", allow_http=False, ca=str(tls.ca)
        )
        await carried(encrypted, tls, tmp_path)
        nobody = ObjectBlobs(msgspec.structs.replace(encrypted, ca=""))
        with pytest.raises(UnavailableError, match=r"does not answer .*certificate verify failed"):
            await nobody.narrowed([], "job/1/", 600)
