"""The rules R4 to R10 of the design on the embedded default, each by something that tries to break it.

R1 to R3 are in test_kills.py and test_steps.py.
"""

import json
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.acceptance.conftest import PATIENCE_S

from ion.dispatcher.stores import Stores
from ion.model.job import FailureClass, Job, State
from ion.model.record import Kind, Record
from ion.ports.documents import RecordFilter

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline

FAST = "{module: 2, timeout: 1, lost: 5, memory: {times: 1, factor: 8}, backoff: 10ms}"


def last(pipeline: "Pipeline", module: str) -> Job:
    (job,) = pipeline.jobs(module)
    return job


async def records(stores: Stores) -> list[Record]:
    return [record async for record in stores.documents.query(RecordFilter())]


# ---- R4: a deadline on every state ------------------------------------------------------------------------------


def test_a_dispatcher_that_sleeps_past_its_lease_holds_nothing_up(pipeline: "Pipeline") -> None:
    """Stopped in mid-job it is taken for dead and the job made again; what it does on waking is too late."""
    pipeline.write("""
ion: 1
modules:
  slow:
    command: [sh, -c, 'echo $ION_ATTEMPT begun >> TRACES; [ $ION_ATTEMPT = 2 ] || until [ -e open ]; do sleep 1; done']
    on: go
    retries: {lost: 5, backoff: 10ms}
""")
    sleeper = pipeline.start_program("short_lease.py", str(pipeline.store))
    pipeline.until(
        lambda: (pipeline.store / "ion.db").exists() and b"open" in (pipeline.folder / "output").read_bytes()
    )
    pipeline.ion("event", "create", "--event-type", "go")
    pipeline.until(lambda: list(pipeline.traced()) == ["1 begun"])
    pipeline.put_to_sleep(sleeper)
    (pipeline.folder / "open").touch()
    other = pipeline.start_program("short_lease.py", str(pipeline.store))
    pipeline.until(lambda: last(pipeline, "slow").state is State.RELEASED)
    job = last(pipeline, "slow")
    assert (job.attempt, job.failures) == (2, {FailureClass.LOST: 1})
    sleeper.send_signal(signal.SIGCONT)
    for process in (sleeper, other):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert last(pipeline, "slow").execution == job.execution
    assert pipeline.audit() == []
    assert pipeline.processes() == []


def test_what_waits_for_a_removed_module_becomes_dead(pipeline: "Pipeline") -> None:
    """Its jobs are dead letters with a sentence, and run when the module is back and they are retried."""
    pipeline.write("""
ion: 1
name: letters
modules:
  gone:
    command: [sh, -c, 'echo ran >> TRACES; [ -e mended ]']
    on: go
    retries: {module: 5, backoff: 10m, backoff_most: 10m}
""")
    pipeline.write("ion: 1\nname: letters\nmodules: {kept: {command: 'true', on: other}}\n", "fewer.yaml")
    process = pipeline.start("run", "--event", "go", "--retries")
    pipeline.until(lambda: list(pipeline.traced()) == ["ran"] and last(pipeline, "gone").state is State.WAITING)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    server = pipeline.start("up", "fewer.yaml", "--port", "0")
    pipeline.until(lambda: bool(pipeline.jobs("gone")) and last(pipeline, "gone").state is State.DEAD)
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
    failure = last(pipeline, "gone").failure
    assert failure is not None
    assert "module gone was removed" in failure.message
    assert "apply that module first" in pipeline.ion("job", "retry", last(pipeline, "gone").id, code=2, error=True)
    (pipeline.folder / "mended").write_text("")
    pipeline.ion("run")
    pipeline.ion("job", "retry", last(pipeline, "gone").id)
    pipeline.ion("run")
    assert list(pipeline.traced()) == ["ran", "ran"]
    assert last(pipeline, "gone").state is State.RELEASED


# ---- R5: failures have a class ----------------------------------------------------------------------------------


def test_each_class_of_failure_has_its_own_budget(pipeline: "Pipeline") -> None:
    """Exit codes, time-outs, memory and killed processes are tried as often as each may; a broken contract never."""
    pipeline.write(f"""
ion: 1
defaults: {{retries: {FAST}, grace: 100ms}}
modules:
  exits: {{command: [sh, -c, 'exit 3'], on: go}}
  final: {{command: [sh, -c, 'exit 4'], on: go, no_retry_on: [4]}}
  breaks: {{command: [sh, -c, 'echo x > "$ION_DIR/out/events/a.json"'], on: go}}
  hangs: {{command: [sleep, '1000'], on: go, timeout: 300ms}}
  grows: {{command: [python3, grow.py], on: go, resources: {{memory: 32Mi}}}}
  dies: {{command: [sh, die.sh], on: go}}
""")
    (pipeline.folder / "die.sh").write_text("[ $ION_ATTEMPT -gt 4 ] || kill -9 $$\n")
    (pipeline.folder / "grow.py").write_text(
        "import os, time\nheld = b'x' * 90_000_000\nif os.environ['ION_ATTEMPT'] == '1': time.sleep(1000)\n"
    )
    pipeline.ion("run", "--event", "go", "--retries", code=1)
    ended = {job.module: (job.state, job.attempt, dict(job.failures)) for job in pipeline.jobs() if job.module != "cli"}
    assert ended == {
        "exits": (State.DEAD, 3, {FailureClass.MODULE: 3}),
        "final": (State.DEAD, 1, {FailureClass.MODULE: 1}),
        "breaks": (State.DEAD, 1, {FailureClass.CONTRACT: 1}),
        "hangs": (State.DEAD, 2, {FailureClass.TIMEOUT: 2}),
        "grows": (State.RELEASED, 2, {FailureClass.MEMORY: 1}),
        "dies": (State.RELEASED, 5, {FailureClass.LOST: 4}),
    }


def test_a_module_that_only_fails_is_paused(pipeline: "Pipeline") -> None:
    """After `pause_after` dead jobs in a row the rest wait unburnt, and the run says so and ends."""
    pipeline.write("""
ion: 1
modules:
  bad: {command: [sh, -c, '[ -e mended ]'], on: go, pause_after: 3, concurrency: 1}
""")
    for number in range(10):
        (pipeline.folder / f"{number}.txt").write_text("")
    said = pipeline.ion("run", "--event", "go", "--each", "*.txt", code=1)
    assert "waiting for bad, which is paused" in said
    states = Counter(job.state for job in pipeline.jobs("bad"))
    assert states[State.DEAD] in (3, 4)  # one more may have been running when the third died
    assert states[State.WAITING] == 10 - states[State.DEAD]
    assert all(job.attempt == 0 for job in pipeline.jobs("bad") if job.state is State.WAITING)
    (pipeline.folder / "mended").write_text("")
    pipeline.ion("run", code=1)  # the dead stay dead
    assert Counter(job.state for job in pipeline.jobs("bad")) == {
        State.DEAD: states[State.DEAD],
        State.RELEASED: states[State.WAITING],
    }


# ---- R6: back-pressure ------------------------------------------------------------------------------------------


def test_a_wide_fan_out_through_one_slot_does_not_deadlock(pipeline: "Pipeline") -> None:
    """New events from outside are held back with 429 while much is open; what is inside runs to its end."""
    pipeline.write("""
ion: 1
front: {backlog_most: 20}
defaults: {concurrency: 1}
machine: {cpu: 1}
modules:
  split:
    command: [sh, -c, 'for i in $(seq 60); do echo ''{"type": "part"}'' > "$ION_DIR/out/events/$i.json"; done']
    on: go
    emits: [part]
  work: {command: [sh, -c, 'until [ -e open ]; do sleep 0.02; done'], on: part}
""")
    server = pipeline.start("up", "--port", "0")
    pipeline.until(lambda: b"front API" in (pipeline.folder / "output").read_bytes())
    address = re.search(rb"http://[0-9.:]+", (pipeline.folder / "output").read_bytes())
    assert address is not None
    url = f"{address[0].decode()}/events/go"

    def post() -> httpx.Response:
        return httpx.post(url, files={"a.txt": b"x"}, timeout=PATIENCE_S)

    assert post().status_code == 200
    pipeline.until(lambda: len(pipeline.jobs("work")) == 60)
    answer: list[httpx.Response] = []

    def held_back() -> bool:
        answer[:] = [post()]
        return answer[0].status_code == 429

    pipeline.until(held_back)
    assert "Retry-After" in answer[0].headers
    (pipeline.folder / "open").write_text("")
    pipeline.until(lambda: post().status_code == 200)
    pipeline.until(lambda: all(flow["open"] == 0 for flow in pipeline.json("flow", "list", "--json")))
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
    assert {job.state for job in pipeline.jobs()} == {State.RELEASED}


# ---- R7: logs outlive jobs --------------------------------------------------------------------------------------


def test_what_an_attempt_logged_outlives_its_dispatcher(pipeline: "Pipeline") -> None:
    """Killed with the dispatcher in mid-sentence, the attempt's log and its record are there, as the next one's are."""
    pipeline.write("""
ion: 1
modules:
  chatty:
    command: [sh, -c, 'echo attempt $ION_ATTEMPT speaks; [ $ION_ATTEMPT = 2 ] || { echo begun >> TRACES; sleep 999; }']
    on: go
    retries: {lost: 5, backoff: 10ms}
""")
    process = pipeline.start("run", "--event", "go", "--retries")
    pipeline.until(lambda: list(pipeline.traced()) == ["begun"])
    pipeline.until(lambda: any(log.stat().st_size for log in (pipeline.store / "work").glob("*/log")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    pipeline.ion("run", "--retries")
    event = last(pipeline, "chatty").event.id

    async def logs(stores: Stores) -> dict[str, tuple[bool, str]]:
        found = {}
        async for record in stores.documents.query(RecordFilter(kind=Kind.MODULE_LOGS)):
            blob = record.body["logs"].partition("/blobs/")[2].partition("/")[2]
            found[record.id] = (record.body["succeeded"], (await stores.blobs.get_bytes(blob)).decode())
        return found

    found = pipeline.do(logs)
    assert {key: succeeded for key, (succeeded, _) in found.items()} == {
        f"module:chatty-event:{event}-attempt:1": False,
        f"module:chatty-event:{event}-attempt:2": True,
    }
    for number, (_, text) in enumerate(found.values(), 1):
        assert f"attempt {number} speaks" in text


# ---- R8: no secret of Ion's -------------------------------------------------------------------------------------


def test_a_module_sees_the_contract_and_nothing_of_ours(pipeline: "Pipeline") -> None:
    """Its environment is exactly what the contract names and what it declares, whatever ours holds."""
    pipeline.write("""
ion: 1
modules:
  looks: {command: [sh, -c, 'env > "$ION_DIR/out/data/env"'], on: go, env: {MINE: "1"}, secrets: {KEY: the-key}}
""")
    ours = {"AWS_SECRET_ACCESS_KEY": "ours", "PGPASSWORD": "ours", "the-key": "s3cret-of-the-module"}
    pipeline.ion("run", "--event", "go", env=ours)
    (file,) = pipeline.store.glob("blobs/*/*/*/*/data/env")
    names = {line.partition("=")[0] for line in file.read_text().splitlines()}
    contract = {
        *("HANDLER_BASE_DIR", "ION_DIR", "ION_EVENT_ID", "ION_CORRELATION_ID", "ION_PARENT_EVENT_ID", "ION_MODULE"),
        *("ION_ATTEMPT", "TRACEPARENT", "SHARED_SECRET", "HANDLER_PORT", "HOME", "TMPDIR", "PATH", "MINE", "KEY"),
    }
    shell = {"PWD", "SHLVL", "_", "OLDPWD"}
    assert contract <= names
    assert names - shell - {"LANG", "LC_ALL", "TZ"} == contract
    assert "ours" not in file.read_text()
    file.unlink()  # the module chose to write its secret down; nothing else may have
    leaks = [path for path in pipeline.store.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert leaks == []


# ---- R9: one code path ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ["{ledger: memory, documents: memory, bus: memory}", "{synchronous: full}"])
def test_other_adapters_give_the_same_flow(pipeline: "Pipeline", kinds: str) -> None:
    """In memory, or with every commit on the disk, the same pipeline ends in the same way as by default."""
    text = """
ion: 1
modules:
  one: {command: [sh, -c, 'cd "$ION_DIR"; echo ''{"type": "more"}'' > out/events/a.json'], on: go, emits: more}
  two: {command: [sh, -c, 'exit 3'], on: more}
profiles: {other: KINDS}
"""
    pipeline.write(text.replace("KINDS", kinds))
    results = [
        json.loads(pipeline.ion("run", "--event", "go", "--json", "--store", store, *options, code=1).splitlines()[-1])
        for store, options in (("default", ()), ("other", ("--profile", "other")))
    ]
    told = [
        (
            {k: v for k, v in result.items() if k in ("ok", "jobs", "stuck")},
            [one["message"] for one in result["failed"]],
        )
        for result in results
    ]
    assert told[0] == told[1]
    assert told[0][0]["jobs"] == {"cli": {"released": 1}, "one": {"released": 1}, "two": {"dead": 1}}


# ---- R10: every event carries the trace -------------------------------------------------------------------------


def test_one_flow_is_one_trace_across_every_hop(pipeline: "Pipeline") -> None:
    """Each attempt has a span of its own, below that of the event's; what it raises says so, in the root's trace."""
    (pipeline.folder / "hop.sh").write_text(
        'echo "$ION_EVENT_ID $TRACEPARENT" >> "$1"; echo \'{"type": "\'$2\'"}\' > "$ION_DIR/out/events/a.json"'
    )
    pipeline.write("""
ion: 1
modules:
  one: {command: [sh, hop.sh, TRACES, b], on: a, emits: b}
  two: {command: [sh, hop.sh, TRACES, c], on: b, emits: c}
  three: {command: [sh, hop.sh, TRACES, d], on: c, emits: d}
""")
    pipeline.ion("run", "--event", "a")
    events = {job.module: job.event for job in pipeline.jobs()}
    spans = dict(line.split(" ", 1) for line in pipeline.traced())
    assert [events[name].traceparent for name in ("two", "three")] == [spans[events[n].id] for n in ("one", "two")]
    traces = [*spans.values(), events["one"].traceparent]
    assert len({trace.split("-")[2] for trace in traces}) == 4
    assert len({trace.split("-")[1] for trace in traces}) == 1
    assert len({event.correlation_id for event in events.values()}) == 1
    flows: Counter[Any] = Counter(record.context.correlation_id for record in pipeline.do(records))
    assert len(flows) == 1
