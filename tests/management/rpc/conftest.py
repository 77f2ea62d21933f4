"""A store in which a flow ran, and one in which nothing did."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.management.rpc.stage import World, bare, lived, management

from ion.dispatcher.stores import Stores
from ion.management.verbs import Management


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with lived(tmp_path) as made:
        yield made


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    async with bare(tmp_path) as made:
        yield made


@pytest.fixture
def local(stores: Stores) -> Management:
    return management(stores)
