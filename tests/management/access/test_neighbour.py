"""Without TLS: whose the other end of a connection over loopback is."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.management.access.conftest import World

from ion.config.settings import Served
from ion.errors import DeniedError
from ion.management.access.neighbour import check_neighbour, user_of
from ion.management.rpc.remote import open_remote

NOBODY = 65_534
ASKS = """
import asyncio, sys
from ion.management.rpc.remote import open_remote

async def main():
    async with open_remote(sys.argv[1], timeout_s=60.0) as management:
        print((await management.modules.pause(name="detect", paused=True)).name)

asyncio.run(main())
"""


async def test_the_user_that_it_runs_as_is_let_in(world: World) -> None:
    """By name, as an admin; IPv6 is no other host."""
    for host in ("127.0.0.1", "::1", "localhost"):
        async with world.serving(Served(host=host)) as port:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            async with open_remote(where, timeout_s=60.0) as management:
                await management.modules.pause(name="detect", paused=True)
    names = {(entry.actor, entry.role, entry.outcome) for entry in await world.trail()}
    ((name, role, outcome),) = names
    assert (role, outcome) == ("admin", "")
    assert name
    assert name != "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_another_user_of_the_host_is_refused(world: World, tmp_path: Path) -> None:
    """A port is open to all of them, and who applies modules runs programs; the attempt is in the trail."""
    async with world.serving(Served()) as port:
        asked = await asyncio.create_subprocess_exec(
            "setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", ASKS, f"127.0.0.1:{port}",
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        out, err = await asked.communicate()
    assert out == b""
    assert b"without TLS this Ion answers only the user that it runs as" in err
    (entry,) = await world.trail()
    assert (entry.actor, entry.verb, entry.role) == ("unknown", "modules.pause", "")
    assert "without TLS" in entry.outcome


def test_an_end_that_is_closed_is_nobodys() -> None:
    """Of what its client has let go, the kernel would say that it is root's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = listening.getsockname()
        with socket.create_connection(server) as client:
            ours = client.getsockname()
            accepted, _ = listening.accept()
            assert user_of(ours, server) == os.geteuid()
            assert check_neighbour(ours, server)
        with accepted, pytest.raises(DeniedError):
            check_neighbour(ours, server)
        assert user_of(("127.0.0.1", 1), server) is None
