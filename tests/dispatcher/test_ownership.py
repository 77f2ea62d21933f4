"""Who is alive: beats on the observer's own clock, and locks of this host."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ion.dispatcher.ownership import LockFile, Ownership
from ion.model.job import Job, State
from ion.ports.ledger import Owner
from ion.testing.conformance.ledger_stage import SetClock

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

LEASE_S = 15.0


class Watch:
    """An observer `one` beside another dispatcher `two`, whose beats stand still unless it is told to beat."""

    def __init__(self, bench: "Bench", *, host: str = "here", lock: str = "") -> None:
        self.bench = bench
        self.clock = SetClock()
        self.one = self.ownership("one")
        self.two = self.ownership("two", host=host, lock=lock)

    def ownership(self, name: str, *, host: str = "here", lock: str = "") -> Ownership:
        me = Owner(id=name, scope="here", host=host, pid=1, lock=lock)
        return Ownership(self.bench.ledger, me, lease_s=LEASE_S, clock=self.clock)

    async def adopted_after(self, seconds: float) -> list[str]:
        """Which jobs `one` takes over when it beats after so many seconds."""
        self.clock.advance(seconds)
        return [job.id for job in await self.one.beat()]

    async def left(self) -> Job:
        """A job that `two` runs."""
        await self.two.beat()
        return await self.bench.running(owner="two")


async def test_each_beat_raises_the_own_count_and_gives_all_owners(bench: "Bench") -> None:
    """So everybody sees everybody, oneself included."""
    watch = Watch(bench)
    await watch.one.beat()
    await watch.two.beat()
    await watch.one.beat()
    assert [(owner.id, owner.beat) for owner in watch.one.owners] == [("one", 2), ("two", 1)]


async def test_a_beat_that_stands_still_for_the_lease_means_death(bench: "Bench") -> None:
    """From the moment that it was first seen; then its running jobs are the observer's, and its row is gone."""
    watch = Watch(bench)
    job = await watch.left()
    assert await watch.adopted_after(0.0) == []
    assert await watch.adopted_after(LEASE_S - 0.5) == []
    assert (await bench.ledger.get(job.id)).owner == "two"
    assert await watch.adopted_after(0.5) == [job.id]
    after = await bench.ledger.get(job.id)
    assert (after.state, after.owner, after.attempt) == (State.RUNNING, "one", job.attempt)
    assert [owner.id for owner in watch.one.owners] == ["one"]


async def test_one_that_beats_is_alive_however_slowly_it_works(bench: "Bench") -> None:
    """A lease begins anew with every beat that is seen."""
    watch = Watch(bench)
    job = await watch.left()
    for _ in range(10):
        assert await watch.adopted_after(LEASE_S - 0.5) == []
        await watch.two.beat()
    assert (await bench.ledger.get(job.id)).owner == "two"
    assert [owner.id for owner in watch.one.owners] == ["one", "two"]


async def test_an_observer_that_slept_kills_nobody(bench: "Bench") -> None:
    """A beat seen to have moved is life, though it took an hour to look; only then does the lease begin."""
    watch = Watch(bench)
    await watch.left()
    await watch.adopted_after(0.0)
    await watch.two.beat()
    assert await watch.adopted_after(3600.0) == []
    assert len(await watch.adopted_after(LEASE_S)) == 1


async def test_of_two_that_slept_together_neither_dies(bench: "Bench") -> None:
    """Their host stood still, say, and one looks before the other beats: its lease begins with that look."""
    watch = Watch(bench)
    await watch.left()
    await watch.adopted_after(0.0)
    assert await watch.adopted_after(LEASE_S + 1.0) == []
    assert await watch.adopted_after(LEASE_S - 0.5) == []
    assert len(await watch.adopted_after(0.5)) == 1


async def test_clocks_that_jump_decide_nothing(bench: "Bench") -> None:
    """Neither the ledger's clock nor the host's: only seconds that the observer counted itself."""
    watch = Watch(bench)
    await watch.left()
    await watch.adopted_after(0.0)
    bench.clock.advance(1e6)
    assert await watch.adopted_after(LEASE_S - 0.5) == []


async def test_committed_jobs_of_the_dead_become_nobodys(bench: "Bench") -> None:
    """Any relay takes them; they are not among what has to be settled."""
    watch = Watch(bench)
    await watch.two.beat()
    job = await bench.committed(owner="two")
    await watch.adopted_after(0.0)
    assert await watch.adopted_after(LEASE_S) == []
    assert [one.id for one in await bench.ledger.unreleased(9, "three")] == [job.id]


async def test_a_free_lock_on_this_host_means_death_at_once(bench: "Bench", tmp_path: Path) -> None:
    """The kernel let go of it with the process: there is nothing to wait for. A missing file is a free lock."""
    lock = tmp_path / "two.lock"
    watch = Watch(bench, lock=str(lock))
    with LockFile(lock):
        job = await watch.left()
        assert await watch.adopted_after(0.0) == []
    assert await watch.adopted_after(0.0) == [job.id]


async def test_a_held_lock_does_not_make_a_still_beat_alive(bench: "Bench", tmp_path: Path) -> None:
    """A process that hangs holds its lock for ever; after the lease its work is taken over."""
    lock = tmp_path / "two.lock"
    watch = Watch(bench, lock=str(lock))
    with LockFile(lock):
        job = await watch.left()
        assert await watch.adopted_after(0.0) == []
        assert await watch.adopted_after(LEASE_S) == [job.id]


async def test_a_living_one_is_never_adopted(bench: "Bench", tmp_path: Path) -> None:
    """Lock held and beat moving: not after a hundred leases."""
    lock = tmp_path / "two.lock"
    watch = Watch(bench, lock=str(lock))
    with LockFile(lock):
        job = await watch.left()
        for _ in range(100):
            assert await watch.adopted_after(LEASE_S - 0.5) == []
            await watch.two.beat()
    assert (await bench.ledger.get(job.id)).owner == "two"


async def test_a_lock_on_another_host_says_nothing_here(bench: "Bench", tmp_path: Path) -> None:
    """Its path names a file over there; what stands under that path here, or does not, is no sign."""
    watch = Watch(bench, host="elsewhere", lock=str(tmp_path / "two.lock"))
    job = await watch.left()
    assert await watch.adopted_after(0.0) == []
    assert await watch.adopted_after(LEASE_S) == [job.id]


async def test_nobody_takes_himself_for_dead(bench: "Bench", tmp_path: Path) -> None:
    """Even when his own lock file was removed under him, and he slept for an hour."""
    watch = Watch(bench)
    me = watch.ownership("me", lock=str(tmp_path / "gone.lock"))
    await me.beat()
    job = await bench.running(owner="me")
    watch.clock.advance(3600.0)
    assert await me.beat() == ()
    assert (await bench.ledger.get(job.id)).owner == "me"


async def test_one_that_was_taken_for_dead_comes_back_without_its_jobs(bench: "Bench") -> None:
    """It is added anew, and alive for others; what it owned it has lost."""
    watch = Watch(bench)
    job = await watch.left()
    await watch.adopted_after(0.0)
    await watch.adopted_after(LEASE_S)
    assert await watch.two.beat() == ()
    assert await watch.adopted_after(LEASE_S - 0.5) == []
    assert await bench.ledger.running("two") == []
    assert [one.id for one in await bench.ledger.running("one")] == [job.id]


async def test_two_observers_do_not_both_get_what_a_dead_one_left(bench: "Bench") -> None:
    """Each running job is handed to one of them, to be settled once."""
    watch = Watch(bench)
    job = await watch.left()
    three = watch.ownership("three")
    await watch.adopted_after(0.0)
    await three.beat()
    adopted = await watch.adopted_after(LEASE_S)
    assert await three.beat() == ()
    assert adopted == [job.id]


@pytest.mark.parametrize("modules", [["detect", "count"], []])
async def test_the_modules_that_it_serves_are_told_with_the_next_beat(bench: "Bench", modules: list[str]) -> None:
    """Others divide a module's concurrency by it."""
    watch = Watch(bench)
    await watch.two.beat()
    watch.two.serve(modules)
    await watch.one.beat()
    assert watch.one.owners[1].modules == ()
    await watch.two.beat()
    await watch.one.beat()
    assert watch.one.owners[1].modules == tuple(sorted(modules))
