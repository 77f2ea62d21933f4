"""What a dead dispatcher has left is taken over: found again, kept if it is done, settled if it is lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ion.adapters.executors.local import LocalExecutor
from ion.handler import JobHandler
from ion.model.job import FailureClass, Job, State
from ion.ports.executor import ExecutorGuarantees, Status
from ion.testing.conformance.executor import WAITS, logs_line
from ion.testing.local import MACHINE, abandon, left_of, no_secret, open_local

if TYPE_CHECKING:
    from tests.dispatcher.conftest import Bench

RUNS_ON = "echo begun; setsid -f sleep 1000; sleep 1000"


async def left_behind(bench: "Bench", folder: Path) -> Job:
    """A job whose dispatcher was killed while its module ran."""
    await bench.module("detect", RUNS_ON)
    job = await bench.running(owner="dead")
    await abandon(folder, await bench.assignment(job))
    return job


async def test_what_a_killed_dispatcher_left_running_is_ended_and_lost(bench: "Bench", tmp_path: Path) -> None:
    """Its processes are gone, its log is kept, and the job waits for another attempt."""
    job = await left_behind(bench, tmp_path)
    desk = bench.desk("one")
    await desk.reconciler.recover(await bench.ledger.adopt(["dead"], "one"))
    assert left_of(tmp_path) == set()
    await desk.settle()
    after = await bench.ledger.get(job.id)
    assert (after.state, after.failures) == (State.WAITING, {FailureClass.LOST: 1})
    assert b"begun\n" in await bench.blobs.get_bytes(after.log)
    assert [record.body["succeeded"] for record in await bench.records(job.correlation_id)] == [False]
    assert await bench.executor.recover() == []


async def test_what_it_had_done_is_committed(bench: "Bench", tmp_path: Path) -> None:
    """It died after the manifest was written and before the ledger heard of it."""
    job = await left_behind(bench, tmp_path)
    manifest = await bench.results(job, {"data/a.txt": "a"})
    desk = bench.desk("one")
    await desk.reconciler.recover(await bench.ledger.adopt(["dead"], "one"))
    await desk.settle()
    assert (await bench.ledger.get(job.id)).manifest == manifest


async def test_what_no_executor_finds_is_lost_unless_its_manifest_is_written(bench: "Bench") -> None:
    """It was claimed and never submitted, or ran on a host that is gone."""
    gone, done = await bench.running(owner="dead"), await bench.running(owner="dead")
    await bench.results(done)
    desk = bench.desk("one")
    await desk.reconciler.recover(await bench.ledger.adopt(["dead"], "one"))
    await desk.settle()
    assert (await bench.ledger.get(gone.id)).failures == {FailureClass.LOST: 1}
    assert (await bench.ledger.get(done.id)).state is State.COMMITTED


async def test_recovering_twice_counts_once(bench: "Bench", tmp_path: Path) -> None:
    """A final state is told until it is settled; telling it twice changes nothing."""
    job = await left_behind(bench, tmp_path)
    desk = bench.desk("one")
    adopted = await bench.ledger.adopt(["dead"], "one")
    for _ in range(2):
        await desk.reconciler.recover(adopted)
    assert len(desk.ended) == 2
    await desk.settle()
    assert (await bench.ledger.get(job.id)).failures == {FailureClass.LOST: 1}


async def test_a_dispatcher_leaves_what_another_has_adopted_to_it(bench: "Bench", tmp_path: Path) -> None:
    """Two start after a crash: one adopts the jobs, the other's executor finds them too. The log is not lost."""
    job = await left_behind(bench, tmp_path)
    adopted = await bench.ledger.adopt(["dead"], "one")
    async with open_local(tmp_path) as executor:
        quicker = bench.desk("two", executor=executor)
        await quicker.reconciler.recover(())
        await quicker.settle()
    desk = bench.desk("one")
    await desk.reconciler.recover(adopted)
    await desk.settle()
    after = await bench.ledger.get(job.id)
    assert after.failures == {FailureClass.LOST: 1}
    assert after.log
    assert b"begun\n" in await bench.blobs.get_bytes(after.log)


class Cluster(LocalExecutor):
    """An executor whose attempts outlive their dispatcher, as pods do: `recover` finds those that run."""

    @property
    def guarantees(self) -> ExecutorGuarantees:
        return ExecutorGuarantees(scope=super().guarantees.scope, adopts=True)

    async def recover(self) -> Sequence[Status]:
        return [attempt.status for attempt in self._attempts.values()]


async def test_an_attempt_that_outlived_its_dispatcher_is_watched_on(bench: "Bench", tmp_path: Path) -> None:
    """Adoption is going on with the same attempt: it keeps running, and is not made anew beside it."""
    await bench.module("detect", WAITS)
    job = await bench.running(owner="dead")
    cluster = Cluster(
        tmp_path / "cluster",
        JobHandler(bench.blobs, host="cluster"),
        machine=MACHINE,
        devices=(),
        secrets=no_secret,
        environ={"PATH": "/usr/bin:/bin"},
        guard_links=False,
    )
    async with cluster:
        handle = await cluster.submit(await bench.assignment(job))
        await logs_line(cluster, handle, b"begun")
        desk = bench.desk("one", executor=cluster)
        await desk.reconciler.recover(await bench.ledger.adopt(["dead"], "one"))
        await desk.compare()
        assert not (await cluster.state(handle)).final
        after = await bench.ledger.get(job.id)
        assert (after.state, after.attempt, after.owner) == (State.RUNNING, 1, "one")
        assert desk.running.count("detect") == 1
