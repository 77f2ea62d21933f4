"""The server of the management API: the original's two services, those of `ion.v1`, health and reflection.

It holds no state and does no verb itself: `who` says, call by call, whose verbs a caller gets. Authentication is the
credentials' and the interceptors' business.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
import msgspec

from ion.errors import UnavailableError
from ion.management.rpc.calls import Calls
from ion.management.rpc.handlers import Who, ion_v1
from ion.management.rpc.original import original
from ion.management.spool import Spool

if TYPE_CHECKING:
    from grpc_health.v1 import _async

RECEIVE_MOST: Final = 16 * 1024 * 1024
"""Bytes of one request: a pipeline of some thousand modules."""
TOLD_S: Final = 1.0
"""So long calls that were told of the stop have to say so."""


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """How it is found out that a client is gone without a word: a ping after `ping_s` without anything from it, and
    `answer_s` for the answer. Clients may ping as often as every `least_s`.
    """

    ping_s: float = 20.0
    answer_s: float = 10.0
    least_s: float = 5.0


@asynccontextmanager
async def serving(
    who: Who,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    grace_s: float = 10.0,
    liveness: Liveness | None = None,
    spool: Path | None = None,
) -> AsyncGenerator[int]:
    """Serves until the context is left; gives the port (0 takes a free one).

    Leaving it, running calls have `grace_s` to end; what follows a log or waits for a flow is told at once. `spool` is
    where the files of an event lie until it is raised: best on the blob store's file system.

    Raises:
        UnavailableError: the port is taken, or the address is not this host's.
    """
    calls = Calls()
    server = grpc.aio.server(interceptors=list(interceptors), options=_options(liveness or Liveness()))
    services = ion_v1(who, calls, Spool(spool or Path(tempfile.gettempdir(), "ion-uploads"))) | original(who, calls)
    for name, handlers in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    health = await _health(server, list(services))
    bound = _bind(server, host, port, credentials)
    await server.start()
    try:
        yield bound
    finally:
        await health.enter_graceful_shutdown()
        await _stop(server, calls, grace_s)


async def _stop(server: grpc.aio.Server, calls: Calls, grace_s: float) -> None:
    refusing = asyncio.create_task(server.stop(grace_s + 2 * TOLD_S), name="management: no new calls")
    await calls.stop(grace_s, TOLD_S)
    await server.stop(TOLD_S)  # what is left are watchers of the server's health, and answers on their way
    await refusing


def _options(liveness: Liveness) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # else two servers would share a port, and neither would know
        ("grpc.max_receive_message_length", RECEIVE_MOST),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(liveness.ping_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(liveness.answer_s * 1000)),
        ("grpc.http2.ping_timeout_ms", round(liveness.answer_s * 1000)),  # else no less than a minute
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", round(liveness.least_s * 1000)),
    ]


async def _health(server: grpc.aio.Server, services: Sequence[str]) -> "_async.HealthServicer":
    """Adds the standard services, which tell how this server is and what it offers."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    servicer = health.aio.HealthServicer()
    for name in services:
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return servicer


def _bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise UnavailableError(
            f"the management API cannot listen on {address}: the port is taken, or the address is not this host's; "
            "choose another one"
        ) from error
