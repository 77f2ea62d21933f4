"""A dispatcher's process is killed with SIGKILL; another takes over, loses nothing, and doubles nothing."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ion.adapters.executors.local import LocalExecutor, family
from ion.dispatcher.ownership import this_host
from ion.errors import UnavailableError
from ion.model.job import FailureClass, Job, State
from ion.model.record import Kind
from ion.ports.documents import RecordFilter
from ion.ports.executor import Assignment, Status
from ion.ports.ledger import Claim, Owner
from ion.testing.conformance.elsewhere import running
from ion.testing.local import MACHINE, abandon, left_of, no_secret

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

PATIENCE_S = 120.0
LONG_S = 3600.0
LEASE_S = 6.0
DISPATCHES = """
import asyncio, os
from pathlib import Path
from ion.config.settings import Machine, Settings
from ion.dispatcher.service import Dispatcher, DispatcherSettings
from ion.wiring import open_executors, open_store

async def main():
    store, machine = Path({store!r}), Settings(machine=Machine(cpu=4.0, gpus=()))
    async with open_store(store) as stores, open_executors(store, stores, machine, os.environ) as executors:
        settings = DispatcherSettings(lease_s={lease_s}, locks=store / "run")
        async with Dispatcher(stores, executors, settings) as dispatcher:
            print("dispatching", flush=True)
            await dispatcher.wait()

asyncio.run(main())
"""
RUNS_ON = "echo said; setsid -f sleep 1000; sleep 1000 & echo begun >> ran; [ -e go ] || wait"
RAISES = """printf '{"type": "face", "data": {"by": "%s"}}' "$ION_EVENT_ID" > "$ION_DIR/out/events/1.json" """
ALIVE = "echo said; echo $$ >> pids; echo begun; while [ -e alive ]; do sleep 0.05; done"


@asynccontextmanager
async def killed_at_the_end(site: "Site") -> AsyncIterator[None]:
    """A dispatcher in another process, which is killed when the context is left."""
    async with running(DISPATCHES.format(store=str(site.store), lease_s=LEASE_S)) as output:
        async with asyncio.timeout(PATIENCE_S):
            assert await output.readline() == b"dispatching\n"
        yield


async def test_another_takes_over_at_once(site: "Site") -> None:
    """The kernel tells of the death, not a lease: what ran is ended, kept as lost, and done again."""
    await site.module("detect", RUNS_ON)
    async with killed_at_the_end(site):
        event = await site.photo()
        await site.until_lines("ran", 1)
    assert left_of(site.store)
    (site.outside / "go").touch()
    async with site.dispatching(lease_s=LONG_S, reconcile_s=LONG_S):
        assert await site.quiet(event) == {("detect", State.RELEASED): 1}
    job = await site.job(event)
    assert (job.attempt, job.failures) == (2, {FailureClass.LOST: 1})
    which = RecordFilter(kind=Kind.MODULE_LOGS, event_id=event.id)
    records = [record async for record in site.stores.documents.query(which)]
    assert [record.body["succeeded"] for record in records] == [False, True]
    assert len([info async for info in site.stores.blobs.list(f"{job.id}/1/")]) == 1
    assert left_of(site.store) == set()


async def test_one_that_is_at_work_takes_over_too(site: "Site") -> None:
    """At its next beat after the death, and not while the other lives."""
    await site.module("detect", RUNS_ON, concurrency=2)
    async with AsyncExitStack() as stack:
        async with killed_at_the_end(site):
            events = await site.raise_photos(2)
            await site.until_lines("ran", 2)
            await stack.enter_async_context(site.dispatching(lease_s=LEASE_S, reconcile_s=LONG_S))
            before = [await site.job(event) for event in events]
            assert len({job.owner for job in before}) == 1
        (site.outside / "go").touch()
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 2}
    for event in events:
        job = await site.job(event)
        assert (job.attempt, job.failures) == (2, {FailureClass.LOST: 1})
    assert left_of(site.store) == set()


@pytest.mark.parametrize("after", [1, 5, 12])
async def test_nothing_is_lost_or_doubled_by_a_kill_at_any_time(site: "Site", after: int) -> None:
    """Twenty jobs with a child each, killed in the middle: every job is released, with one result."""
    await site.module("detect", f'{RAISES}; echo "$ION_EVENT_ID" >> ran', emits=["face"])
    await site.module("count", 'echo "$ION_EVENT_ID" >> counts', on="face")
    async with killed_at_the_end(site):
        events = await site.raise_photos(20)
        await site.until_lines("ran", after)
    async with site.dispatching():
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 20, ("count", State.RELEASED): 20}
    which = RecordFilter(kind=Kind.EVENT_META, name="detect")
    records = [record async for record in site.stores.documents.query(which)]
    raised = Counter(pair["value"] for record in records for pair in record.body["data"] if pair["key"] == "by")
    assert raised == dict.fromkeys((event.id for event in events), 1)
    assert left_of(site.store) == set()


class Away(LocalExecutor):
    """An executor whose blob store is away while it recovers, so many times."""

    fails = 0

    async def recover(self) -> Sequence[Status]:
        if self.fails:
            self.fails -= 1
            raise UnavailableError("the blob store is away, so no log can be kept")
        return await super().recover()


async def abandoned(site: "Site") -> Job:
    """A job whose dispatcher is dead, and whose module runs on until the file `alive` goes."""
    (site.outside / "alive").touch()
    module = await site.module("detect", ALIVE, concurrency=0)
    event = await site.photo()
    await site.job(event)
    (registered,) = await site.stores.ledger.modules()
    asked = Claim(
        module=module.name, most=1, owner="dead", scope="", revision=registered.revision.id, deadline_s=LONG_S
    )
    (job,) = await site.stores.ledger.claim(asked)
    await abandon(site.store, Assignment(job=job, revision=registered.revision))
    return job


async def test_a_takeover_that_is_disturbed_is_completed(site: "Site") -> None:
    """What was adopted is recovered when the store is back: processes ended, logs kept, then settled."""
    executor = Away(
        site.store / "work",
        site.stores.handler,
        machine=MACHINE,
        devices=(),
        secrets=no_secret,
        environ=os.environ,
        guard_links=False,
    )
    try:
        async with executor, site.dispatching(executor=executor, lease_s=LONG_S) as dispatcher:
            job = await abandoned(site)
            executor.fails = 1
            dead = Owner(id="dead", scope="", host=this_host(), pid=0, lock="/nowhere/dead.lock")
            await site.stores.ledger.beat(dead)
            dispatcher._beat_now.set()

            async def settled() -> bool:
                return (await site.stores.ledger.get(job.id)).state is State.WAITING

            await site.until(settled)
            assert executor.fails == 0
            (pid,) = site.lines("pids")
            process = family.look(int(pid))
            assert process is None or process.zombie
            assert (await site.stores.ledger.get(job.id)).log
    finally:
        (site.outside / "alive").unlink(missing_ok=True)
