"""A ledger on a server and blobs in a folder: hosts that do not share the folder are told, whichever starts first."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_server import PostgresServer, postgres_server

from ion.config.backends import Backend
from ion.config.settings import Settings
from ion.errors import UnsupportedError
from ion.wiring import open_store
from ion.wiring.marks import MARK
from ion.wiring.remembered import remember

REFUSED = r"are not in .*two/blobs but in a folder on another host: share that folder .*mkdir -p .*two/blobs/\.mark/"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["postgres", "mongodb"])
def settings(request: pytest.FixtureRequest) -> Settings:
    name = {"postgres": "postgres", "mongodb": "mongo_server"}[request.param]
    server: PostgresServer | MongoServer = request.getfixturevalue(name)
    return Settings(ledger=Backend(kind=request.param, options=server.settings()))


async def served(store: Path, settings: Settings | None) -> list[str]:
    """Opens a store; the paths of its blobs."""
    async with open_store(store, settings) as stores:
        assert stores.ledger.guarantees.shared
        return [blob.path async for blob in stores.blobs.list("")]


async def test_a_host_without_the_folder_is_refused(tmp_path: Path, settings: Settings) -> None:
    """The first host may come again, who shares its folder too; another is refused, until it is mended."""
    for _ in range(2):
        assert await served(tmp_path / "one", settings) == []
    with pytest.raises(UnsupportedError, match=REFUSED) as told:
        await served(tmp_path / "two", settings)
    with pytest.raises(UnsupportedError, match=REFUSED):
        await served(tmp_path / "two", None)
    (tmp_path / "shares").mkdir()
    (tmp_path / "shares" / "blobs").symlink_to(tmp_path / "one" / "blobs")
    assert await served(tmp_path / "shares", settings) == []
    (tmp_path / str(told.value).rpartition("mkdir -p ")[2]).mkdir(parents=True)
    assert await served(tmp_path / "two", settings) == []


async def test_who_only_looks_marks_nothing(tmp_path: Path, settings: Settings) -> None:
    """A command before the first dispatcher leaves the ledger to the host that serves."""
    (tmp_path / "looks").mkdir()
    remember(tmp_path / "looks", settings)
    await served(tmp_path / "looks", None)
    assert not (tmp_path / "looks" / "blobs" / MARK).exists()
    await served(tmp_path / "one", settings)


async def test_of_hosts_that_start_at_once_one_folder_is_taken(tmp_path: Path, settings: Settings) -> None:
    """Two with a folder each and two that share it: all who share the one that was taken may serve, nobody else."""
    (tmp_path / "shares").mkdir()
    (tmp_path / "one" / "blobs").mkdir(parents=True)
    (tmp_path / "shares" / "blobs").symlink_to(tmp_path / "one" / "blobs")
    names = ("one", "shares", "two", "three")
    done = await asyncio.gather(*(served(tmp_path / name, settings) for name in names), return_exceptions=True)
    refused = {name for name, one in zip(names, done, strict=True) if isinstance(one, UnsupportedError)}
    assert all(isinstance(one, list | UnsupportedError) for one in done)
    assert refused in ({"two", "three"}, {"one", "shares", "two"}, {"one", "shares", "three"})


async def test_a_host_that_was_killed_in_between_goes_on(tmp_path: Path, settings: Settings) -> None:
    """Its folder was marked and the ledger did not hear of it: the mark that is there is told."""
    (tmp_path / "one" / "blobs" / MARK / "marked").mkdir(parents=True)
    await served(tmp_path / "one", settings)
    with pytest.raises(UnsupportedError, match="mark/marked"):
        await served(tmp_path / "two", settings)
