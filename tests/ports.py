"""Ports for servers that tests start.

A port that the kernel picks is one that it gives to any client the next moment: between its choice and the server's
start, or while a server is stopped, another connection may take it. So these lie below the ports of clients, and each
worker of the tests has a stretch of its own.
"""

import os
import random
import socket
from contextlib import ExitStack, suppress

_FIRST, _STRETCH, _WORKERS = 20_000, 1_500, 8


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody had, all at the same time."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    first = _FIRST + worker * _STRETCH
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(range(first, first + _STRETCH), _STRETCH):
            if len(found) == count:
                return found
            with suppress(OSError):  # somebody has it
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    raise OSError(f"there are no {count} free ports from {first} on")


def free_port() -> int:
    return free_ports(1)[0]
