"""`ion rerun`: further runs, what they supersede, and when they are refused."""

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from tests.cli.test_gc import keep

from ion.dispatcher.stores import Stores
from ion.model.event import Event
from ion.model.ids import job_id
from ion.model.job import Job, State
from ion.model.retention import Retention
from ion.ports.ledger import Cancel, Control

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

FACE = {
    "data/boxed.jpg": "another box",
    "insights.json": '{"faces": 3}',
    "events/face.json": '{"type": "face", "files": ["boxed.jpg"]}',
}
OWNER = "bench"


def only(bench: "Bench", module: str, *states: State) -> Job:
    (job,) = bench.jobs(module, *states)
    return job


def relay(bench: "Bench") -> None:
    """A dispatcher's relay looks for what is committed."""
    bench.do(bench._relay)


def finished(bench: "Bench") -> tuple[Job, Job]:
    """The flow's dead letter is made good; the jobs of `detect` and `count`."""
    bench.ion("dlq", "redrive", "--all")
    return only(bench, "detect"), bench.succeed("count", out={"data/count.txt": "2"})


def test_a_further_run_takes_the_place_of_the_first(bench: "Bench", flow: Event) -> None:
    """Its events are new and start new jobs; the old job and what came of it are superseded and no longer listed."""
    detect, count = finished(bench)
    new = job_id(detect.event.id, "detect", 1)
    assert bench.ion("rerun", detect.id[:8]).stdout == f"{detect.id} runs again as {new}\n"
    assert bench.job(detect.id).state is State.RELEASED
    again = bench.succeed("detect", out=FACE)
    assert (again.id, again.run, again.state) == (new, 1, State.RELEASED)
    assert (bench.job(detect.id).state, bench.job(count.id).state) == (State.SUPERSEDED, State.SUPERSEDED)
    child = only(bench, "count", State.WAITING)
    assert child.id != count.id
    bench.succeed("count", out={"data/count.txt": "3"})
    shown = {job["id"] for job in bench.json("job", "list", "--json")}
    assert shown & {new, child.id, detect.id, count.id} == {new, child.id}
    asked_for = {job["id"] for job in bench.json("job", "list", "--state", "superseded", "--json")}
    assert asked_for == {detect.id, count.id}
    tree = bench.ion("trace", "flow", "--tree", "-c", flow.correlation_id).stdout
    assert child.id[:8] in tree
    assert count.id[:8] not in tree
    assert "a cat in a box" in _stored(bench, detect)
    bench.ion("audit")


def _stored(bench: "Bench", job: Job) -> str:
    (file,) = bench.store.glob(f"blobs/*/{job.id}/*/*/data/*")
    return file.read_text()


def test_a_run_that_dies_supersedes_nothing(bench: "Bench", flow: Event) -> None:
    """What was there stays, and a third run may be tried; its success supersedes both."""
    detect, count = finished(bench)
    bench.ion("rerun", detect.id)
    bench.fail("detect")
    assert {bench.job(job.id).state for job in (detect, count)} == {State.RELEASED}
    bench.ion("rerun", detect.id)
    third = bench.succeed("detect", out=FACE)
    assert third.run == 2
    assert {job.state for job in bench.jobs("detect") if job.id != third.id} == {State.SUPERSEDED}
    assert bench.job(count.id).state is State.SUPERSEDED
    assert bench.json("dlq", "list", "--json") == []
    bench.ion("audit")


def test_logs_of_both_runs_are_told(bench: "Bench", flow: Event) -> None:
    """The record of the new run's log does not take the place of the old one's."""
    detect, _ = finished(bench)
    bench.ion("rerun", detect.id)
    again = bench.succeed("detect", out=FACE)
    records = bench.json("trace", "flow", "-c", flow.correlation_id)
    logs = {one["id"] for one in records if one["context"]["documentType"] == "modulelogs"}
    assert {
        f"module:detect-event:{detect.event.id}-attempt:1",
        f"module:detect-event:{detect.event.id}-run:1-attempt:1",
    } <= logs
    assert bench.ion("job", "logs", again.id).stdout == bench.ion("job", "logs", detect.id).stdout


def test_an_earlier_run_that_is_open_refuses(bench: "Bench", flow: Event) -> None:
    """While one run is open another is refused, by id and by filter."""
    detect, _ = finished(bench)
    bench.ion("rerun", detect.id)
    for which in ((detect.id,), ("--module", "detect")):
        assert "a run of the same" in bench.ion("rerun", *which, code=2).stderr
    waiting = only(bench, "detect", State.WAITING)
    assert f"job {waiting.id} is waiting: only released" in bench.ion("rerun", waiting.id, code=2).stderr


def test_what_cannot_run_again_is_refused(bench: "Bench", flow: Event) -> None:
    """A gateway's job, a cancelled flow, a module that is gone, inputs that have expired: each with what to do."""
    detect, count = finished(bench)
    assert "raise its event again in a new flow" in bench.ion("rerun", only(bench, "cli").id, code=2).stderr
    keep(bench, Retention(intermediates_s=0.001))
    bench.ion("gc")
    assert "is expired: only" in bench.ion("rerun", detect.id, code=2).stderr
    assert f"would need files of the job {detect.id}" in bench.ion("rerun", count.id, code=2).stderr
    bench.do(lambda stores: stores.ledger.remove("count", "test"))
    assert "apply that module first" in bench.ion("rerun", count.id, code=2).stderr
    bench.do(lambda stores: stores.ledger.control(flow.correlation_id, Control.CANCELLED, "test"))
    assert "raise its root event anew" in bench.ion("rerun", count.id, code=2).stderr


def test_a_dead_letter_can_run_again_though_others_expired(bench: "Bench", flow: Event) -> None:
    """What it needs was kept for it, so a further run of it has it too."""
    dead = only(bench, "count")
    keep(bench, Retention(intermediates_s=0.001))
    bench.ion("gc")
    bench.ion("rerun", "--module", "count", "--state", "dead")
    bench.ion("gc")
    bench.succeed("count", out={"data/count.txt": "2"})
    assert bench.job(dead.id).state is State.SUPERSEDED
    bench.ion("audit")


def test_of_a_chain_only_the_topmost_runs_again(bench: "Bench", flow: Event) -> None:
    """What comes of a chosen job runs anew anyway, so it is not queued by itself."""
    detect, count = finished(bench)
    said = bench.ion("rerun", "-c", flow.correlation_id, "--dry-run").stdout
    assert said == f"{detect.id} would run again as {job_id(detect.event.id, 'detect', 1)}\n"
    assert len(bench.jobs("detect")) == 1
    said = bench.ion("rerun", count.id, detect.id, "--dry-run").stdout
    assert said.count("would run again") == 1


def test_filters_choose(bench: "Bench", flow: Event) -> None:
    """By module, time and state; without any nothing runs, and ids go alone."""
    detect, count = finished(bench)
    assert "say what to run again" in bench.ion("rerun", code=2).stderr
    assert "say what to run again" in bench.ion("rerun", "--state", "dead", code=2).stderr
    assert "not both" in bench.ion("rerun", detect.id, "--module", "detect", code=2).stderr
    assert bench.ion("rerun", "--since", "2100-01-01").stdout == ""
    assert bench.ion("rerun", "-n", "count", "--state", "dead").stdout == ""
    assert bench.ion("rerun", "-n", "count", "--since", "1h").stdout.startswith(count.id)


def test_open_descendants_are_ended_first(bench: "Bench", flow: Event) -> None:
    """A waiting descendant of the old run is cancelled, a running one marked; until it has ended the new run stays
    committed, and so the flow open.
    """
    detect = only(bench, "detect")
    bench.ion("dlq", "redrive", "--all")
    running = bench.claim("count")
    bench.ion("rerun", detect.id)
    committed = bench.succeed("detect", out=FACE)
    assert committed.state is State.COMMITTED
    assert "which end first: 1" in committed.history[-1].note
    assert bench.job(running.id).cancelling
    assert bench.job(detect.id).state is State.SUPERSEDED

    async def end(stores: Stores) -> None:
        assert await stores.ledger.settle(running.id, running.attempt, OWNER, Cancel(reason="asked for"))
        await asyncio.sleep(1.1)  # the relay was put off for a second

    bench.do(end)
    relay(bench)
    assert bench.job(committed.id).state is State.RELEASED
    assert bench.job(running.id).state is State.SUPERSEDED
    assert len(bench.jobs("count", State.WAITING)) == 1


def test_waiting_descendants_are_superseded_at_once(bench: "Bench", flow: Event) -> None:
    """They never run."""
    detect, count = only(bench, "detect"), only(bench, "count")
    bench.ion("dlq", "redrive", "--all")
    bench.ion("rerun", detect.id)
    assert bench.succeed("detect", out=FACE).state is State.RELEASED
    assert bench.job(count.id).state is State.SUPERSEDED


def test_a_run_of_a_descendant_is_superseded_with_it(bench: "Bench", flow: Event) -> None:
    """Whichever run came of the old job, it goes with it."""
    detect, count = finished(bench)
    bench.ion("rerun", count.id)
    second = bench.succeed("count", out={"data/count.txt": "4"})
    assert bench.job(count.id).state is State.SUPERSEDED
    bench.ion("rerun", detect.id)
    bench.succeed("detect", out=FACE)
    assert bench.job(second.id).state is State.SUPERSEDED


def test_the_audit_finds_a_run_that_did_not_give_way(bench: "Bench", flow: Event) -> None:
    """Two runs of one thing that both count are a fault."""
    detect, _ = finished(bench)
    bench.ion("rerun", detect.id)
    bench.succeed("detect", out=FACE)
    with sqlite3.connect(bench.store / "ion.db") as connection:
        connection.execute("UPDATE jobs SET state = 'released' WHERE id = ?", (detect.id,))
    connection.close()
    assert f"fault: {detect.id}: it is released, though its later run" in bench.ion("audit", code=1).stdout


def test_the_superseded_expire_like_others(bench: "Bench", flow: Event) -> None:
    """Retention takes what was superseded, and the audit has nothing to say."""
    detect, _ = finished(bench)
    bench.ion("rerun", detect.id)
    bench.succeed("detect", out=FACE)
    bench.fail("count")
    age = 0.001
    keep(bench, Retention(intermediates_s=age))
    bench.ion("gc")
    assert bench.job(detect.id).state is State.EXPIRED
    bench.ion("audit")
    keep(bench, Retention(intermediates_s=age, results_s=age, failed_s=age, logs_s=age))
    bench.ion("gc")
    assert list(bench.store.glob("blobs/*/*/*/*/*")) == []
    assert detect.id not in {job["id"] for job in bench.json("job", "list", "--json")}
    assert detect.id in {job["id"] for job in bench.json("job", "list", "--state", "expired", "--json")}
    assert detect.id[:8] not in bench.ion("trace", "flow", "--tree", "-c", flow.correlation_id).stdout
    bench.ion("audit")
