"""An object store that dies, is slow, busy, full, or loses answers: the right class of error, one clear sentence, and
nothing half stored or half brought.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from tests.buses.proxy import Proxy
from tests.stores.azurite import Azurite
from tests.stores.http_proxy import Fate, HttpProxy
from tests.stores.seaweed import Seaweed
from tests.stores.server import ObjectServer

from ion.adapters.blobs.objects import ObjectBlobs
from ion.adapters.blobs.objects_client import made
from ion.adapters.blobs.objects_settings import MIB, ObjectsSettings
from ion.errors import ExistsError, InvalidError, IonError, NotFoundError, UnavailableError, UnsupportedError

LARGE = 30 * MIB + 17
"""Bytes: four parts."""
PATIENCE_S = 180.0


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large.mp4"
    file.write_bytes(os.urandom(LARGE))
    return file


@pytest.fixture
async def proxy(server: ObjectServer) -> AsyncIterator[HttpProxy]:
    async with HttpProxy(server.port) as proxy:
        yield proxy


@pytest.fixture(params=[Azurite, Seaweed])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectServer]:
    """A server that may be stopped."""
    with request.param(tmp_path / "server") as server:
        yield server


def place(server: ObjectServer, port: int = 0, **changes: float) -> ObjectsSettings:
    """A fresh place whose requests are soon not repeated any more."""
    settings = server.fresh(f"t-{uuid.uuid4().hex}", port)
    return msgspec.structs.replace(settings, **({"retries": 2, "retry_for_s": PATIENCE_S} | changes))


@asynccontextmanager
async def hasty(settings: ObjectsSettings, limit_s: float) -> AsyncIterator[ObjectBlobs]:
    """A store whose requests last no longer; opened by one that has more time, on a busy machine too."""
    async with ObjectBlobs(settings) as blobs:
        blobs._settings = msgspec.structs.replace(settings, timeout_s=limit_s)
        blobs._client = made(blobs._settings)
        yield blobs


async def keys(blobs: ObjectBlobs) -> list[str]:
    """Everything, the adapter's own blobs too."""
    return sorted([meta["path"].rpartition("/")[2] async for page in blobs._pages("") for meta in page])


def one_sentence(caught: pytest.ExceptionInfo[IonError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 350
    return text


# ---- outages ------------------------------------------------------------------------------------------------------


async def test_a_dead_server_is_unavailable_until_it_is_back(mortal: ObjectServer, tmp_path: Path) -> None:
    """While it is dead all verbs raise UnavailableError with place and reason; what was stored is there afterwards."""
    settings = place(mortal)
    async with ObjectBlobs(settings) as blobs:
        await blobs.put_bytes("a/b", b"before")
        mortal.stop()
        for attempt in (
            lambda: blobs.put_bytes("a/c", b""),
            lambda: blobs.get("a/b", tmp_path / "b"),
            lambda: blobs.get_bytes("a/b"),
            lambda: blobs.link("a/b", 60),
            lambda: blobs.delete("a/"),
        ):
            with pytest.raises(UnavailableError) as caught:
                await attempt()
            assert settings.url in one_sentence(caught)
            assert "nobody listens there" in str(caught.value)
        assert not (tmp_path / "b").exists()
        mortal.start()
        mortal.wait()
        assert await blobs.get_bytes("a/b") == b"before"
        await blobs.put_bytes("a/c", b"after")
    mortal.stop()
    with pytest.raises(UnavailableError, match="nobody listens there"):
        await ObjectBlobs(settings).__aenter__()


async def test_a_short_outage_is_waited_for(mortal: ObjectServer, large: Path) -> None:
    """Puts that begin while the server is away succeed when it is back in time."""
    settings = place(mortal, retries=100, retry_for_s=PATIENCE_S)
    async with ObjectBlobs(settings) as blobs:
        mortal.stop()
        puts = asyncio.gather(blobs.put_bytes("a/b", b"1"), blobs.put("a/large", large))
        mortal.start()
        await asyncio.wait_for(puts, PATIENCE_S)
        assert await blobs.get_bytes("a/b") == b"1"
        assert (await blobs.info("a/large")).size == LARGE


async def test_a_server_that_hangs_is_unavailable(server: ObjectServer, large: Path, tmp_path: Path) -> None:
    """No answer within the time limit raises UnavailableError that says so; when it answers again, work goes on."""
    async with Proxy(server.port) as line:
        settings = place(server, line.port, retries=0)
        async with ObjectBlobs(settings) as patient, hasty(settings, 3.0) as blobs:
            await patient.put_bytes("a/b", b"x")
            line.stall()
            for attempt in (
                lambda: blobs.put_bytes("a/c", b"x"),
                lambda: blobs.put("a/d", large),
                lambda: blobs.get("a/b", tmp_path / "b"),
            ):
                with pytest.raises(UnavailableError, match="does not answer in time") as caught:
                    await attempt()
                one_sentence(caught)
            line.resume()
            assert await patient.get_bytes("a/b") == b"x"
            await until_read(blobs, "a/b")


async def until_read(blobs: ObjectBlobs, path: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(UnavailableError):
                await blobs.get_bytes(path)
                return


async def test_a_busy_server_is_asked_again(server: ObjectServer, proxy: HttpProxy) -> None:
    """A few 503s are borne; when they go on, UnavailableError names the status."""
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        met = proxy.always(Fate.BUSY, times=2)
        await blobs.put_bytes("a/b", b"x")
        assert len(met) == 2
        met = proxy.always(Fate.BUSY)
        with pytest.raises(UnavailableError, match="it answers 503 Service Unavailable") as caught:
            await blobs.get_bytes("a/b")
        one_sentence(caught)
        assert len(met) == 3


async def test_a_refusal_is_not_repeated(server: ObjectServer, proxy: HttpProxy) -> None:
    """What will not pass by itself is asked once: an unknown path, a taken one."""
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        await blobs.put_bytes("a/b", b"x")
        met = proxy.always(Fate.PASS)
        with pytest.raises(NotFoundError):
            await blobs.get_bytes("a/none")
        assert len(met) == 1
        with pytest.raises(ExistsError):
            await blobs.put_bytes("a/b", b"y")
        assert [one.partition(" ")[0] for one in met[1:]] == ["PUT", "HEAD"]


async def test_a_line_that_is_cut_in_an_upload_leaves_nothing(
    server: ObjectServer, proxy: HttpProxy, large: Path
) -> None:
    """A connection that breaks in the midst of a large upload, again and again, raises UnavailableError and leaves no
    blob and no claim; one that breaks once is borne.
    """
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        before = await keys(blobs)
        part = "comp=block&" if blobs._settings.kind == "az" else "partNumber="
        met = proxy.always(Fate.DROP, "PUT", part)
        with pytest.raises(UnavailableError) as caught:
            await blobs.put("a/large.mp4", large)
        assert "a/large.mp4" in one_sentence(caught)
        assert len(met) >= 3
        assert await keys(blobs) == before
        met = proxy.always(Fate.DROP, "PUT", part, times=1)
        await blobs.put("a/large.mp4", large)
        assert len(met) == 1
        assert (await blobs.info("a/large.mp4")).size == LARGE


async def test_a_full_server_is_unavailable(tmp_path: Path) -> None:
    """A store without room raises UnavailableError, and keeps what it has."""
    with Seaweed(tmp_path / "server", most_volumes=8, volume_mb=1) as server:
        async with ObjectBlobs(place(server, retries=0)) as blobs:
            await blobs.put_bytes("a/first", b"x")

            async def fill() -> None:
                for number in range(100):
                    await blobs.put_bytes(f"a/{number}", os.urandom(4 * MIB))

            with pytest.raises(UnavailableError, match="it answers 500") as caught:
                await fill()
            one_sentence(caught)
            assert await blobs.get_bytes("a/first") == b"x"


# ---- lost answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [Fate.LOSE, Fate.CLOSE])
async def test_a_put_whose_answer_was_lost_is_known_as_ones_own(
    server: ObjectServer, proxy: HttpProxy, fate: Fate
) -> None:
    """The request is repeated and finds the path taken, by itself: the put has succeeded."""
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        met = proxy.always(fate, "PUT", times=1)
        await blobs.put_bytes("a/b", b"x")
        assert len(met) == 1
        assert await blobs.get_bytes("a/b") == b"x"
        with pytest.raises(ExistsError):
            await blobs.put_bytes("a/b", b"x")


@pytest.mark.parametrize("fate", [Fate.LOSE, Fate.CLOSE])
async def test_a_completion_whose_answer_was_lost_has_happened(
    server: ObjectServer, proxy: HttpProxy, large: Path, fate: Fate
) -> None:
    """The last request of a large upload is carried out and its answer lost: the put succeeds, and no claim is left."""
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        before = await keys(blobs)
        last = ("PUT", "comp=blocklist") if blobs._settings.kind == "az" else ("POST", "uploadId=")
        met = proxy.always(fate, *last, times=1)
        await blobs.put("a/large", large)
        assert len(met) == 1
        assert await keys(blobs) == sorted([*before, "large"])


async def test_a_put_without_an_answer_is_settled_by_the_next(server: ObjectServer, proxy: HttpProxy) -> None:
    """Where nothing comes at all nobody knows; UnavailableError, and the next try finds the path taken."""
    settings = place(server, proxy.port)
    async with hasty(settings, 2.0) as blobs, ObjectBlobs(settings) as patient:
        proxy.always(Fate.HANG, "PUT", times=1)
        with pytest.raises(UnavailableError, match="does not answer in time"):
            await blobs.put_bytes("a/b", b"x")
        with pytest.raises(ExistsError):
            await patient.put_bytes("a/b", b"x")


# ---- what comes is whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_a_blob_that_comes_short_is_no_file(
    server: ObjectServer, proxy: HttpProxy, tmp_path: Path, size: int
) -> None:
    """An answer that breaks off is asked for again; when it always does, UnavailableError, and no partial file."""
    (tmp_path / "given").write_bytes(content := os.urandom(size))
    async with ObjectBlobs(place(server, proxy.port)) as blobs:
        await blobs.put("a/b", tmp_path / "given")
        met = proxy.always(Fate.CUT, "GET")
        with pytest.raises(UnavailableError) as caught:
            await blobs.get("a/b", tmp_path / "file")
        one_sentence(caught)
        assert met
        assert not (tmp_path / "file").exists()
        proxy.always(Fate.CUT, "GET", times=1)
        await blobs.get("a/b", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == content


async def test_a_blob_that_changes_while_it_comes_is_no_file(
    server: ObjectServer, proxy: HttpProxy, large: Path, tmp_path: Path
) -> None:
    """All parts are of one version; if there is another meanwhile, UnavailableError, and no file of both."""
    second = tmp_path / "second"
    second.write_bytes(os.urandom(LARGE))
    direct = place(server)
    through = msgspec.structs.replace(direct, endpoint=direct.endpoint.replace(str(server.port), str(proxy.port)))
    async with ObjectBlobs(through) as blobs, ObjectBlobs(direct) as other:
        await blobs.put("a/b", large)
        came, changed = 0, asyncio.Event()

        async def judge(method: str, _: str) -> Fate:
            nonlocal came
            came += method == "GET"
            if method == "GET" and came == 2:  # the first told size and version
                await other.delete("a/")
                await other.put("a/b", second)
                changed.set()
            elif method == "GET" and came > 2:
                await changed.wait()
            return Fate.PASS

        proxy.judge = judge
        with pytest.raises(UnavailableError, match="changed meanwhile") as caught:
            await blobs.get("a/b", tmp_path / "file")
        one_sentence(caught)
        assert not (tmp_path / "file").exists()


# ---- opening ------------------------------------------------------------------------------------------------------


async def test_wrong_credentials_are_refused_at_the_opening(server: ObjectServer) -> None:
    """InvalidError, with the store and what to do, and without the secret."""
    settings = place(server)
    secret = "bm90IHRoZSBrZXk="
    name = "account_key" if settings.kind == "az" else "secret_access_key"
    with pytest.raises(InvalidError, match="refuses the credentials") as caught:
        async with ObjectBlobs(msgspec.structs.replace(settings, **{name: secret})):
            pass
    assert secret not in one_sentence(caught)
    assert settings.url in str(caught.value)


async def test_a_missing_bucket_is_told_at_the_opening(server: ObjectServer) -> None:
    """InvalidError that says there is none, and what to do."""
    settings = place(server)
    with pytest.raises(InvalidError, match="no such container or bucket; create it") as caught:
        async with ObjectBlobs(msgspec.structs.replace(settings, url=f"{settings.kind}://nobody-made-this")):
            pass
    one_sentence(caught)


async def test_a_store_that_overwrites_is_refused(server: ObjectServer, proxy: HttpProxy) -> None:
    """One that ignores the condition of a create is found out at the opening."""
    proxy.always(Fate.AGREE, "PUT")
    with pytest.raises(UnsupportedError, match="If-None-Match") as caught:
        async with ObjectBlobs(place(server, proxy.port)):
            pass
    one_sentence(caught)
