"""A module with an image is tested in a container, by an engine that really runs it."""

import pytest
from tests.executors import test_local_containers as containers

from ion.errors import ContractError
from ion.testing import run_module

engine = containers.engine


@pytest.mark.usefixtures("engine")
def test_a_module_is_run_in_its_image() -> None:
    """It sees `/ion`, and what it leaves is given back from the folder here."""
    script = "echo in $ION_DIR; cat /ion/in/data/a.txt > /ion/out/data/b.txt"
    run = run_module(["/bin/sh", "-c", script], image=containers.IMAGE, files={"a.txt": b"hello"})
    assert run.log == "in /ion\n"
    assert run.files["b.txt"].read_bytes() == b"hello"
    with pytest.raises(ContractError, match=r"passes on .in/data/a\.txt., which is not in in/data"):
        run_module(
            ["/bin/sh", "-c", 'echo \'{"type": "t", "inputs": ["in/data/a.txt"]}\' > /ion/out/events/a.json'],
            image=containers.IMAGE,
            emits=["t"],
        )
