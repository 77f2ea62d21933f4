"""Serves an ASGI application from within a running event loop.

The server is a guest in Ion's process: it handles no signals, configures no logging and chooses no event loop (uvloop
starts processes several times slower). Ion says when it stops: then it takes no more requests, answers those it has,
and cuts off what is not done after ten seconds.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ion.errors import UnavailableError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

STOP_S = 10
IDLE_S = 15


@asynccontextmanager
async def serving(app: "ASGIApp", listening: socket.socket, *, stop_s: int = STOP_S) -> AsyncGenerator[int]:
    """Serves on a socket of `bound` while the context is open; gives its port."""
    server = _server(app, stop_s)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="front-api")
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    """Waits for the server's own stop; a second cancellation, while it stops, ends it at once."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        raise


@contextlib.contextmanager
def bound(host: str, port: int, what: str = "the front API", key: str = "front.port") -> Generator[socket.socket]:
    """A socket bound and listening already, so that a client who was told the port is never refused; 0: a free one.

    Args:
        host: The address.
        port: The port.
        what: Who listens there, for messages.
        key: The setting that names the port, for messages.

    Raises:
        UnavailableError: the address cannot be bound; says why.
    """
    listening = _bound(host, port, what, key)
    with listening:
        yield listening


def _bound(host: str, port: int, what: str, key: str) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
    except OSError as error:
        raise UnavailableError(f"{what} cannot use the address {host}: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise UnavailableError(
            f"{what} cannot listen on {host}:{port}: {error.strerror}; choose another with `{key}`"
        ) from error
    return listening


def _server(app: "ASGIApp", stop_s: int) -> "uvicorn.Server":
    import uvicorn  # here: it costs 100 ms, and only a served front API needs it

    class Guest(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=stop_s,
    )
    return Guest(config)
