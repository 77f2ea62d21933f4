"""The page of the API: what it shows works, against a real server."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from tests.management.rpc.stage import World

from ion.management.rpc.serve import serving

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
EXAMPLES = [block for block in re.findall(r"(?ms)^```python\n(.*?)^```", PAGE) if "localhost:9000" in block]


@pytest.mark.parametrize("example", EXAMPLES, ids=["reflection", "verbs"])
async def test_the_pages_examples_run(world: World, example: str) -> None:
    """In a process of their own, on the server's real port."""
    async with serving(lambda _: world.local) as port:
        program = example.replace("localhost:9000", f"localhost:{port}")
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, complaints = await running.communicate()
    assert running.returncode == 0, complaints.decode()
    assert (world.flow if "open_remote" in example else world.detect) in said.decode()
