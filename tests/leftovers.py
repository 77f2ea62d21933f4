"""What vendors' clients leave to the garbage collector: connections that failed while they were being opened.

A module whose tests make them has `pytestmark = LEAVES` and imports `collected`.
"""

import gc
from collections.abc import Iterator

import pytest

LEAVES = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """So that no other module meets what these tests left: after their loops are closed, which hold it until then."""
    yield
    gc.collect()
