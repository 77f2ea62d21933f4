"""Two dispatchers on one store: they share the work, and each job runs exactly once."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ion.adapters.sqlite.database import Database
from ion.config.settings import Machine
from ion.model.job import Job, State
from ion.model.module import Resources
from ion.wiring import open_store

if TYPE_CHECKING:
    from tests.dispatcher.service.conftest import Site

    from ion.dispatcher.service import Dispatcher
    from ion.model.event import Event

LEASE_S = 6.0
"""Beats come three times as often."""


@asynccontextmanager
async def two(site: "Site", *, cpu: float = 8.0) -> AsyncIterator[tuple["Dispatcher", "Dispatcher"]]:
    """Two dispatchers, each with its own connections as in a process of its own, that have seen each other beat."""
    machine = Machine(cpu=cpu, gpus=("0", "1"))
    async with (
        open_store(site.store) as others,
        site.dispatching(machine=machine, lease_s=LEASE_S) as one,
        site.dispatching(machine=machine, lease_s=LEASE_S, stores=others) as other,
    ):
        await seen_each_other(site)
        yield one, other


async def seen_each_other(site: "Site") -> None:
    """Waits until each has beaten after both were there."""
    async with Database(site.store / "ion.db") as database:

        def beats() -> list[int]:
            return database.read(lambda db: [beat for (beat,) in db.execute("SELECT beat FROM owners ORDER BY id")])

        async def both() -> bool:
            now = beats()
            return len(now) == 2 and all(beat > was for beat, was in zip(now, before, strict=True))

        before = beats()
        await site.until(both)


async def jobs_of(site: "Site", events: "Sequence[Event]") -> list[Job]:
    return [await site.job(event) for event in events]


def claimers(job: Job) -> list[str]:
    """Who claimed the job, by its history."""
    return [change.actor for change in job.history if change.state is State.RUNNING]


async def test_each_job_runs_once_though_two_claim(site: "Site") -> None:
    """Sixty jobs, each in one attempt by one of the two."""
    await site.module("detect", 'echo "$ION_EVENT_ID" >> ran', concurrency=8)
    async with two(site) as (one, other):
        events = await site.raise_photos(60)
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 60}
    assert Counter(site.lines("ran")) == dict.fromkeys((event.id for event in events), 1)
    jobs = await jobs_of(site, events)
    assert {job.attempt for job in jobs} == {1}
    assert {actor for job in jobs for actor in claimers(job)} <= {one.id, other.id}


@pytest.mark.parametrize("concurrency", [2, 4])
async def test_the_concurrency_of_a_module_is_divided_between_them(site: "Site", concurrency: int) -> None:
    """All of it is used, none of it twice, and both have their half."""
    await site.module("detect", site.beside(concurrency), concurrency=concurrency)
    async with two(site) as (one, other):
        events = await site.raise_photos(3 * concurrency)
        await site.quiet(events[0])
    assert site.most_at_once() == concurrency
    by = Counter(actor for job in await jobs_of(site, events) for actor in claimers(job))
    assert min(by[one.id], by[other.id]) >= concurrency // 2


async def test_the_machine_is_divided_between_them(site: "Site") -> None:
    """Two on a machine of four cores have two each, so that together they take no more than there are."""
    await site.module("detect", site.beside(4), concurrency=99)
    async with two(site, cpu=4.0):
        events = await site.raise_photos(12)
        await site.quiet(events[0])
    assert site.most_at_once() == 4


async def test_a_device_is_never_given_out_by_both(site: "Site") -> None:
    """The ledger keeps who has which, whoever claimed it."""
    await site.module("detect", site.beside(2), concurrency=99, resources=Resources(cpu=0.1, gpu=1))
    async with two(site):
        events = await site.raise_photos(12)
        await site.quiet(events[0])
    assert [site.most_at_once(), site.most_at_once(" 0"), site.most_at_once(" 1")] == [2, 1, 1]
    assert len(site.lines("ran")) == 24


async def test_who_stays_goes_on_alone(site: "Site") -> None:
    """One stops while jobs wait: the other does them all, and those that come later."""
    await site.module("detect", site.beside(2), concurrency=2)
    async with two(site) as (one, other):
        events = await site.raise_photos(6)
        await site.until_lines("ran", 1)
        await one.stop()
        assert await site.quiet(events[0]) == {("detect", State.RELEASED): 6}
        late = await site.raise_photos(2)
        assert await site.quiet(late[0]) == {("detect", State.RELEASED): 2}
        jobs = await jobs_of(site, late)
    assert {actor for job in jobs for actor in claimers(job)} == {other.id}
