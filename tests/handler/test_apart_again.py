"""`ion handler commit` through outages, and made again: by a container that is started again, or after its death."""

import uuid

import msgspec
from msgspec.structs import replace
from tests.handler.apart import ROOT, apart, behind, has
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.seaweed import Seaweed
from tests.stores.server import ObjectServer

from ion.wiring.handler import BLOBS, Opening

pytestmark = ROOT


async def test_a_commit_outlives_a_short_outage(seaweed: Seaweed) -> None:
    """The module's work is done: a store that comes back within a minute gets it."""
    async with HttpProxy(seaweed.port) as proxy, behind(proxy, seaweed) as attempt:
        assert (await attempt.prepare()).code == 0
        await attempt.module("echo mine > out/data/mine.txt")
        met = proxy.always(Fate.BUSY, "PUT", times=5)
        manifest = await attempt.manifest(await attempt.commit())
        assert await attempt.content(manifest) == {"mine.txt": b"mine\n"}
        assert len(met) == 5


async def test_a_commit_goes_on_with_a_renewed_credential(seaweed: Seaweed) -> None:
    """It took longer than the one that it began with was good for."""
    async with HttpProxy(seaweed.port) as proxy, behind(proxy, seaweed) as attempt:
        assert (await attempt.prepare()).code == 0
        await attempt.module("echo mine > out/data/mine.txt")
        file = attempt.files / BLOBS
        renewed = file.read_bytes()
        over = replace(attempt.settings, secret_access_key="over", role="")
        file.write_bytes(msgspec.json.encode(Opening(store=over)))
        met = proxy.always(Fate.PASS)
        async with attempt.begun("commit") as process:
            await has(met)
            file.write_bytes(renewed)
            ended = await attempt.ended(process)
        assert await attempt.content(await attempt.manifest(ended)) == {"mine.txt": b"mine\n"}


async def test_a_commit_may_be_repeated(server: ObjectServer) -> None:
    """A container that is started again after its commit tells the same manifest, and stores nothing."""
    settings = server.fresh(f"t-{uuid.uuid4().hex}")
    async with apart(server.role(settings) if isinstance(server, Seaweed) else settings) as attempt:
        assert (await attempt.prepare()).code == 0
        await attempt.module("""echo mine > out/data/mine.txt; echo '{"type": "found"}' > out/events/1.json""")
        first = await attempt.commit()
        manifest, stored = await attempt.manifest(first), await attempt.stored()
        again = await attempt.commit()
        assert first.told is not None
        assert again.told is not None
        assert first.told.began_s < again.told.began_s
        assert (again.code, again.told) == (0, replace(first.told, began_s=again.told.began_s))
        assert await attempt.manifest(again) == manifest
        assert await attempt.stored() == stored


async def test_a_commit_that_was_killed_is_finished_by_the_next(seaweed: Seaweed) -> None:
    """What it had stored is taken; the manifest comes once."""
    async with HttpProxy(seaweed.port) as proxy, behind(proxy, seaweed) as attempt:
        assert (await attempt.prepare()).code == 0
        await attempt.module("echo one > out/data/one.txt; echo two > out/data/two.txt")
        met = proxy.always(Fate.HANG, "PUT", "manifest.json")
        async with attempt.begun("commit") as process:
            await has(met)
            process.kill()
        proxy.always(Fate.PASS)
        manifest = await attempt.manifest(await attempt.commit())
        assert await attempt.content(manifest) == {"one.txt": b"one\n", "two.txt": b"two\n"}
