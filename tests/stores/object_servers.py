"""One server of each kind for the tests of a run, as fixtures; those that kill it have one of their own."""

from collections.abc import Iterator

import pytest
from tests.stores.azurite import Azurite
from tests.stores.seaweed import Seaweed
from tests.stores.server import ObjectServer


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(params=["azurite", "seaweed"])
def server(request: pytest.FixtureRequest) -> ObjectServer:
    """Each of them in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, ObjectServer)
    return found
