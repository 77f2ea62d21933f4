"""`ion gc` and `ion du`: what retention takes, what it must leave, and what takes up the store."""

import asyncio
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from ion.config.settings import Settings
from ion.dispatcher.stores import Stores
from ion.management.collect import Collector, keep_collecting
from ion.model.event import Event
from ion.model.job import State
from ion.model.module import Module, Subscription
from ion.model.record import Kind
from ion.model.retention import Retention
from ion.ports.documents import RecordFilter
from ion.wiring import open_store
from ion.wiring.remembered import remembered

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

NOW = 0.001
"""An age that everything has reached."""
ALL = Retention(intermediates_s=NOW, results_s=NOW, failed_s=NOW, logs_s=NOW)


def keep(bench: "Bench", retention: Retention) -> None:
    """As a pipeline with this retention that was served on the store."""

    async def opened() -> None:
        async with open_store(bench.store, Settings(retention=retention)):
            pass

    asyncio.run(opened())


def names(bench: "Bench") -> list[str]:
    """The stored blobs by their place below the execution."""

    async def work(stores: Stores) -> list[str]:
        return sorted([blob.path.split("/", 3)[3] async for blob in stores.blobs.list("")])

    return bench.do(work)


def records(bench: "Bench") -> list[Kind]:
    async def work(stores: Stores) -> list[Kind]:
        return sorted([one.context.document_type async for one in stores.documents.query(RecordFilter())])

    return bench.do(work)


def states(bench: "Bench") -> list[tuple[str, State]]:
    return [(job.module, job.state) for module in ("cli", "detect", "count") for job in bench.jobs(module)]


def redriven(bench: "Bench", **out: str) -> None:
    """The flow's dead letter is queued again, and succeeds."""
    bench.ion("dlq", "redrive", "--all")
    bench.succeed("count", out=out or {"data/count.txt": "2"})


def only_stored(bench: "Bench", module: str) -> None:
    """The manifests of a module's jobs are in their blobs alone, as if they were large."""
    with sqlite3.connect(bench.store / "ion.db") as connection:
        connection.execute(
            "UPDATE manifests SET body = json_remove(body, '$.inline')"
            " WHERE job IN (SELECT seq FROM jobs WHERE module = ?)",
            (module,),
        )
    connection.close()


def sound(bench: "Bench") -> None:
    """The audit has no fault."""
    bench.ion("audit")


def test_without_retention_everything_stays(bench: "Bench", flow: Event) -> None:
    """By default nothing expires."""
    before = names(bench)
    assert "0 jobs expired, 0 jobs forgotten" in bench.ion("gc").stdout
    assert names(bench) == before
    assert {state for _, state in states(bench)} == {State.RELEASED, State.DEAD}


def test_retention_is_remembered_with_the_store(bench: "Bench") -> None:
    """Whoever opens the store knows what the last pipeline said; one that says nothing keeps everything again."""
    keep(bench, ALL)
    assert remembered(bench.store).retention == ALL
    bench.ion("job", "list")
    assert remembered(bench.store).retention == ALL
    keep(bench, Retention())
    assert remembered(bench.store).retention == Retention()


def test_all_of_a_flow_goes_in_two_passes(bench: "Bench", flow: Event) -> None:
    """Files, logs and records go and the ids stay; once they have been kept long enough, the flow was never there."""
    keep(bench, ALL)
    assert "3 jobs expired, 0 jobs forgotten" in bench.ion("gc").stdout
    assert (names(bench), records(bench)) == ([], [])
    assert {state for _, state in states(bench)} == {State.EXPIRED}
    sound(bench)
    assert "0 jobs expired, 0 jobs forgotten" in bench.ion("gc").stdout
    (job,) = bench.jobs("detect")
    assert "expired" in bench.ion("job", "show", job.id).stdout
    assert job.id[:8] in bench.ion("trace", "flow", "--tree", "-c", flow.correlation_id).stdout
    keep(bench, Retention(results_s=NOW, ids_s=NOW))
    assert "3 jobs would be forgotten" in bench.ion("gc", "--dry-run").stdout
    assert "0 jobs expired, 3 jobs forgotten" in bench.ion("gc").stdout
    assert bench.json("flow", "list", "--json") == []
    sound(bench)


def test_a_young_or_open_flow_is_left_alone(bench: "Bench", flow: Event) -> None:
    """Ages count from the end of the whole flow, and while a job of it is open nothing goes."""
    hour = 3600.0
    keep(bench, Retention(intermediates_s=hour, results_s=hour, failed_s=hour, logs_s=hour))
    before = names(bench)
    bench.ion("gc")
    keep(bench, ALL)
    bench.ion("dlq", "redrive", "--all")
    bench.ion("gc")
    bench.claim("count")
    bench.ion("gc")
    assert names(bench) == before
    assert State.EXPIRED not in {state for _, state in states(bench)}


def test_intermediates_go_and_results_stay(bench: "Bench", flow: Event) -> None:
    """Of jobs whose events started others only the files go; the leaf has all, and the records tell the story."""
    redriven(bench)
    keep(bench, Retention(intermediates_s=NOW))
    bench.ion("gc")
    assert [name for name in names(bench) if name.startswith("data/")] == ["data/count.txt"]
    assert states(bench) == [("cli", State.EXPIRED), ("detect", State.EXPIRED), ("count", State.RELEASED)]
    assert {Kind.EVENT_META, Kind.INSIGHT, Kind.MODULE_LOGS} <= set(records(bench))
    (job,) = bench.jobs("detect")
    assert "faces = 2" in bench.ion("job", "show", job.id).stdout
    bench.ion("flow", "report", flow.correlation_id)
    sound(bench)


def test_results_go_and_intermediates_stay(bench: "Bench", flow: Event) -> None:
    """Each is kept as long as it says itself."""
    redriven(bench)
    keep(bench, Retention(results_s=NOW))
    bench.ion("gc")
    assert [name for name in names(bench) if name.startswith("data/")] == ["data/boxed.jpg", "data/cat.jpg"]
    assert states(bench) == [("cli", State.RELEASED), ("detect", State.RELEASED), ("count", State.EXPIRED)]
    sound(bench)


def test_a_dead_letter_keeps_what_it_was_to_work_on(bench: "Bench", flow: Event) -> None:
    """Intermediate files that a dead letter would need stay with it; redriven it runs, and then they go."""
    keep(bench, Retention(intermediates_s=NOW))
    bench.ion("gc")
    assert [name for name in names(bench) if name.startswith("data/")] == ["data/boxed.jpg"]
    sound(bench)
    redriven(bench)
    bench.ion("gc")
    assert [name for name in names(bench) if name.startswith("data/")] == ["data/count.txt"]
    sound(bench)


def test_failed_jobs_go_by_their_own_age(bench: "Bench", flow: Event) -> None:
    """The dead letter goes, the rest stays; it is no dead letter any more, and cannot be queued again."""
    (dead,) = bench.jobs("count")
    keep(bench, Retention(failed_s=NOW))
    bench.ion("gc")
    assert states(bench)[-1] == ("count", State.EXPIRED)
    assert bench.json("dlq", "list", "--json") == []
    assert "is expired: only dead" in bench.ion("job", "retry", dead.id, code=2).stderr
    assert bench.ion("job", "logs", dead.id).stdout == "it broke\n"  # logs have an age of their own
    sound(bench)


def test_what_a_leaf_passes_on_by_reference_stays(bench: "Bench", flow: Event) -> None:
    """A blob of an expired job is kept as long as a result names it, and goes with that."""
    bench.apply(
        Module(name="count", on=(Subscription(type="face"),), emits=("counted",), command=("true",), folder="/")
    )
    redriven(bench, **{"events/passed.json": '{"type": "counted", "inputs": ["boxed.jpg"]}'})
    keep(bench, Retention(intermediates_s=NOW))
    bench.ion("gc")
    assert [name for name in names(bench) if name.startswith("data/")] == ["data/boxed.jpg"]
    sound(bench)
    keep(bench, ALL)
    bench.ion("gc")
    assert names(bench) == []
    sound(bench)


def test_logs_go_by_themselves(bench: "Bench", flow: Event) -> None:
    """Logs of released and dead jobs and their records go, of every attempt; everything else stays as it was."""
    bench.ion("dlq", "redrive", "--all")
    bench.fail("count")
    before = [name for name in names(bench) if name != "log.txt"]
    keep(bench, Retention(logs_s=NOW))
    assert "3 expired files deleted" in bench.ion("gc").stdout
    assert names(bench) == before
    assert Kind.MODULE_LOGS not in records(bench)
    (dead,) = bench.jobs("count")
    assert bench.ion("job", "logs", dead.id).stdout == ""
    sound(bench)
    redriven(bench)
    sound(bench)


def test_a_dry_run_says_the_same_and_changes_nothing(bench: "Bench", flow: Event) -> None:
    """What it counts is what the real one then deletes."""
    keep(bench, ALL)
    before = (names(bench), records(bench), states(bench))
    would = bench.ion("gc", "--dry-run").stdout
    assert (names(bench), records(bench), states(bench)) == before
    assert bench.ion("gc").stdout == would.replace("would be ", "")


@pytest.mark.parametrize("old", [True, False])
def test_strays_go_when_they_are_old(bench: "Bench", flow: Event, *, old: bool) -> None:
    """What lost attempts and refused events left goes after a day; what a running attempt stores never does."""
    bench.photo("other")
    running = bench.claim("detect")
    (released,) = bench.jobs("detect", State.RELEASED)

    async def store(stores: Stores) -> None:
        for prefix in ("nobody/1/x", f"{released.id}/1/lost", f"{running.id}/1/storing", f"{running.id}/7/late"):
            await stores.blobs.put_bytes(f"{prefix}/data/stray.txt", b"12345")

    bench.do(store)
    if old:
        for file in bench.store.glob("blobs/*/*/*/*/data/stray.txt"):
            os.utime(file, (time.time() - 90_000, time.time() - 90_000))
    else:
        (young, *_) = bench.store.glob("blobs/*/nobody/*/*/data/stray.txt")
        os.utime(young, (time.time() - 80_000, time.time() - 80_000))
    said = bench.ion("gc").stdout
    left = sorted(str(file).rsplit("/", 3)[-3] for file in bench.store.glob("blobs/*/*/*/*/data/stray.txt"))
    assert left == (["storing"] if old else ["late", "lost", "storing", "x"])
    assert f"{3 if old else 0} files that nobody needs deleted: {15 if old else 0} B" in said
    sound(bench)


def test_one_young_blob_saves_its_execution(bench: "Bench") -> None:
    """An execution that still stores is not touched, however old its first files are."""

    async def store(stores: Stores) -> None:
        for name in ("old", "young"):
            await stores.blobs.put_bytes(f"nobody/1/x/data/{name}", b"1")

    bench.do(store)
    (file,) = bench.store.glob("blobs/*/nobody/1/x/data/old")
    os.utime(file, (1, 1))
    bench.ion("gc")
    assert names(bench) == ["data/old", "data/young"]


def test_a_collector_that_goes_on_sees_what_comes(bench: "Bench", flow: Event) -> None:
    """It skips flows that it is done with, and looks again at those that changed since, or whose time has come."""
    keep(bench, Retention())

    async def work(stores: Stores) -> None:
        collector = Collector(stores, Retention(failed_s=NOW))
        assert (await collector.collect()).jobs == 1
        assert (await collector.collect()).jobs == 0
        late = Collector(stores, ALL)
        assert (await late.collect()).jobs == 2
        task = asyncio.create_task(keep_collecting(late, period_s=0.001))
        await asyncio.sleep(0)
        task.cancel()

    bench.do(work)
    assert {state for _, state in states(bench)} == {State.EXPIRED}


def test_a_collector_that_goes_on_forgets_in_time(bench: "Bench", flow: Event) -> None:
    """The same collector takes everything and, once the ids have been kept long enough, forgets the flow."""

    async def work(stores: Stores) -> None:
        patient = Collector(stores, ALL)
        assert [(await patient.collect()).jobs for _ in range(3)] == [3, 0, 0]
        short = Retention(intermediates_s=NOW, results_s=NOW, failed_s=NOW, logs_s=NOW, ids_s=NOW)
        collector = Collector(stores, short)
        assert (await collector.collect()).forgotten == 3
        assert not (await collector.collect()).anything

    async def at_once(stores: Stores) -> None:
        short = Retention(intermediates_s=NOW, results_s=NOW, failed_s=NOW, logs_s=NOW, ids_s=NOW)
        collector = Collector(stores, short)
        assert [(await collector.collect()).jobs for _ in range(2)] == [2, 0]

    bench.do(work)
    bench.photo("another")
    bench.fail("detect")
    bench.do(at_once)
    assert bench.json("flow", "list", "--json") == []


def test_a_collector_that_goes_on_forgets_what_others_forgot(bench: "Bench", flow: Event) -> None:
    """What it remembers does not grow with flows that another process has taken away."""

    async def work(stores: Stores) -> None:
        patient = Collector(stores, ALL)
        assert [(await patient.collect()).jobs for _ in range(2)] == [3, 0]
        short = Retention(intermediates_s=NOW, results_s=NOW, failed_s=NOW, logs_s=NOW, ids_s=NOW)
        assert (await Collector(stores, short).collect()).forgotten == 3
        assert list(patient._settled) == [flow.correlation_id]
        await patient.collect()
        assert list(patient._settled) == []

    bench.do(work)


def test_a_flow_that_cannot_be_judged_keeps_everything(bench: "Bench", flow: Event) -> None:
    """Where a manifest is gone, what it names is not known: nothing of the flow is deleted, and others go on."""
    redriven(bench)
    (job,) = bench.jobs("count")

    async def damage(stores: Stores) -> None:
        await stores.blobs.delete(f"{job.id}/")

    bench.do(damage)
    only_stored(bench, "count")
    keep(bench, Retention(intermediates_s=NOW))
    before = names(bench)
    bench.ion("gc")
    assert names(bench) == before


def test_a_damaged_manifest_stops_nobody(bench: "Bench", flow: Event) -> None:
    """Where a manifest cannot be read, its flow keeps what it has; the collector goes on with the others."""
    redriven(bench)
    (job,) = bench.jobs("count")
    only_stored(bench, "count")
    (stored,) = bench.store.glob(f"blobs/*/{job.id}/*/*/manifest.json")
    stored.chmod(0o600)
    stored.write_bytes(b"{")
    bench.photo("other")
    bench.fail("detect")

    async def work(stores: Stores) -> None:
        assert (await Collector(stores, Retention(intermediates_s=NOW)).collect()).jobs == 3
        assert stored.exists()
        assert (await Collector(stores, ALL).collect()).jobs == 2

    bench.do(work)
    assert {state for _, state in states(bench)} == {State.EXPIRED}


# ---- du ---------------------------------------------------------------------------------------------------------


def test_du_sums_by_module(bench: "Bench", flow: Event) -> None:
    """Files, logs, manifests and strays of each module, the largest first, and all together."""

    async def store(stores: Stores) -> None:
        await stores.blobs.put_bytes("nobody/1/x/data/a", b"12345")

    bench.do(store)
    told = bench.json("du", "--json")
    rows = {row["module"]: row for row in told["rows"]}
    assert rows.keys() == {"cli", "detect", "count", None}
    assert (rows["cli"]["files"], rows["detect"]["files"], rows["detect"]["logs"]) == (5, 14, 35)
    assert (rows["count"]["logs"], rows["count"]["manifests"], rows[None]["strays"]) == (9, 0, 5)
    everything = sum(file.stat().st_size for file in bench.store.glob("blobs/*/*/*/*/**/*") if file.is_file())
    assert told["total"]["total"] == everything == sum(row["total"] for row in told["rows"])
    table = bench.ion("du").stdout.splitlines()
    assert table[0].split() == ["MODULE", "BLOBS", "FILES", "LOGS", "MANIFESTS", "STRAYS", "TOTAL"]
    assert table[-1].startswith("in all")
    assert any(line.startswith("(no job)") for line in table)


def test_du_sums_by_flow_and_by_kind(bench: "Bench", flow: Event) -> None:
    """The same bytes, in other piles."""
    by_flow = bench.json("du", "--by", "flow", "--json")
    assert [row["flow"] for row in by_flow["rows"]] == [flow.correlation_id]
    by_kind = bench.json("du", "--by", "kind", "--json")
    assert {row["kind"] for row in by_kind["rows"]} == {"files", "logs", "manifests"}
    assert by_kind["total"] == by_flow["total"]
    assert bench.ion("du", "--by", "kind").stdout.splitlines()[0].split() == ["KIND", "BLOBS", "TOTAL"]


def test_du_of_an_empty_store_is_nothing(bench: "Bench") -> None:
    """A table with its header and the sum."""
    assert bench.json("du", "--json")["total"]["total"] == 0
    assert len(bench.ion("du").stdout.splitlines()) == 2
