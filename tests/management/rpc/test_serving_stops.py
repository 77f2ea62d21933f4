"""The server stops: running calls may end, those without an end are told, and nobody waits longer than the grace."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.management.rpc.test_streams_and_load import LongLogs, settled
from tests.ports import free_port

from ion.dispatcher.stores import Stores
from ion.errors import NotFoundError, UnavailableError
from ion.management.rpc.remote import RemoteManagement, open_remote
from ion.management.rpc.serve import serving
from ion.management.verbs import Management
from ion.management.verbs.events import NewEvent
from ion.testing.conformance.ledger_stage import waiting_job

TOLD = "the server is being stopped: ask again in a moment"


@asynccontextmanager
async def served(local: Management, grace_s: float) -> AsyncGenerator[tuple[RemoteManagement, AsyncExitStack]]:
    """A client, and what stops its server when it is closed."""
    async with AsyncExitStack() as server:
        port = await server.enter_async_context(serving(lambda _: local, grace_s=grace_s, port=free_port()))
        async with open_remote(f"127.0.0.1:{port}", timeout_s=120.0) as remote:
            yield remote, server


async def begun(call: Awaitable[object], remote: RemoteManagement) -> asyncio.Future[object]:
    """The call, on its way: a later one has been answered."""
    running = asyncio.ensure_future(call)
    for _ in range(3):
        await remote.modules.list()
    return running


async def drained(log: object) -> None:
    async for _ in log:  # type: ignore[attr-defined]
        pass


async def test_a_running_call_may_end(local: Management) -> None:
    """A call that is being answered when the stop begins gets its own answer."""
    async with served(local, 120.0) as (remote, server):
        asked = drained(remote.events.next(event_type="nothing", group="g", timeout_s=1.0, take=False))
        call = await begun(asked, remote)
        await server.aclose()
        with pytest.raises(NotFoundError, match="no event of type 'nothing' came"):
            await call


async def test_calls_without_an_end_are_told_at_once(local: Management) -> None:
    """A followed log and the wait for a flow end with a sentence when the stop begins, however long the grace."""
    raised = await local.events.create(event=NewEvent(type="photo"))
    async with served(local, 3600.0) as (remote, server):
        waiting = await begun(remote.flows.wait(flow=raised.event.correlation_id), remote)
        async with asyncio.timeout(120.0):
            await server.aclose()
        with pytest.raises(UnavailableError, match=TOLD):
            await waiting


async def test_a_followed_log_is_told_at_once(stores: Stores, local: Management) -> None:
    """So is the log of a job that does not run yet."""
    job = waiting_job(flow="f", module="detect")
    await stores.ledger.admit([job])
    async with served(local, 3600.0) as (remote, server):
        following = await begun(drained(remote.jobs.log(job=job.id, follow=True)), remote)
        async with asyncio.timeout(120.0):
            await server.aclose()
        with pytest.raises(UnavailableError, match=TOLD):
            await following


async def test_a_call_beyond_the_grace_is_told(local: Management) -> None:
    """What has not ended within the grace ends with the same sentence."""
    async with served(local, 0.05) as (remote, server):
        asked = drained(remote.events.next(event_type="nothing", group="g", timeout_s=600.0, take=False))
        call = await begun(asked, remote)
        await server.aclose()
        with pytest.raises(UnavailableError, match=TOLD):
            await call


async def test_a_client_that_does_not_read_holds_nothing_up(stores: Stores) -> None:
    """A stream whose client takes nothing is cut off after the grace."""
    logs = LongLogs(stores, stalls=False)
    async with served(logs, 0.05) as (remote, server):
        log = remote.jobs.log(job="any", follow=True)
        await anext(log)
        await settled(logs.log, remote)
        async with asyncio.timeout(120.0):
            await server.aclose()
            await logs.log.ended.wait()
        await log.aclose()  # type: ignore[attr-defined]


async def test_a_busy_stream_is_told_between_two_messages(stores: Stores) -> None:
    """A followed log that comes without a pause ends with the sentence as well."""
    logs = LongLogs(stores, stalls=False)
    async with served(logs, 3600.0) as (remote, server):
        following = await begun(drained(remote.jobs.log(job="any", follow=True)), remote)
        async with asyncio.timeout(120.0):
            await server.aclose()
        with pytest.raises(UnavailableError, match=TOLD):
            await following


async def test_a_stopped_server_answers_nobody(local: Management) -> None:
    """After the stop its port is closed; a client says which server it was."""
    async with served(local, 1.0) as (remote, server):
        await remote.modules.list()
        await server.aclose()
        with pytest.raises(UnavailableError, match=r"no answer from Ion at 127\.0\.0\.1:\d+: "):
            await remote.modules.list()
