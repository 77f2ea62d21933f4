"""`pytest tests/simulation --seed 42` replays one schedule and prints its trace."""

import logging
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=None, help="run this one schedule of the simulation, and show its trace"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a seed only its schedule is run, else everything but that."""
    asked = config.getoption("--seed", None) is not None
    items[:] = [item for item in items if ("seed" in getattr(item, "fixturenames", ())) is asked or _elsewhere(item)]


def _elsewhere(item: pytest.Item) -> bool:
    return item.path.parent.name != "simulation"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The one schedule that was asked for."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What dispatchers log of the failures that are made up is no news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
