"""What people do with pipelines and stores, from one end to the other."""

import signal
import socket
from typing import TYPE_CHECKING

from tests.acceptance.conftest import PATIENCE_S

from ion.model.job import Hold, State

if TYPE_CHECKING:
    from tests.acceptance.conftest import Pipeline


def test_a_filter_sees_data_of_any_size(pipeline: "Pipeline") -> None:
    """An event whose data is too large for a row starts the same jobs as a small one, and its record has all of it."""
    pipeline.write("""
ion: 1
modules:
  wanted: {command: 'true', on: {type: go, filters: [{exact: {data.kind: cat}}]}}
  unwanted: {command: 'true', on: {type: go, filters: [{exact: {data.kind: dog}}]}}
""")
    pipeline.ion("run", "--event", "go", "--set", "kind=cat", "--set", f"story={'x' * 30_000}")
    assert [job.module for job in pipeline.jobs()] == ["cli", "wanted"]
    flow = pipeline.jobs()[0].correlation_id
    (record,) = [one for one in pipeline.json("trace", "flow", "-c", flow) if one["context"]["name"] == "cli"]
    assert {pair["key"]: len(pair["value"]) for pair in record["data"]} == {"kind": 3, "story": 30_000}
    assert pipeline.audit() == []


def test_unnamed_pipelines_on_one_store_keep_their_modules(pipeline: "Pipeline") -> None:
    """What came from another file stays; what was taken out of the same file goes."""
    pipeline.write("ion: 1\nmodules: {one: {command: 'true', on: a}, two: {command: 'true', on: a}}\n")
    pipeline.write("ion: 1\nmodules: {three: {command: 'true', on: b}}\n", "other.yaml")
    pipeline.ion("run", "--event", "a")
    pipeline.ion("run", "other.yaml", "--event", "b")
    pipeline.write("ion: 1\nmodules: {one: {command: 'true', on: a}}\n")
    pipeline.ion("run", "--event", "a")
    assert [job.module for job in pipeline.jobs() if job.module != "cli"] == ["one", "two", "three", "one"]
    names = pipeline.do(lambda stores: stores.ledger.modules())
    assert [registered.module.name for registered in names] == ["one", "three"]


def test_a_port_that_is_taken_changes_nothing(pipeline: "Pipeline") -> None:
    """`ion up` takes its port before it touches the store, and says in one sentence that it cannot."""
    pipeline.write("ion: 1\nmodules: {one: {command: 'true', on: a}}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = pipeline.ion("up", "--port", str(taken.getsockname()[1]), code=1, error=True)
    assert "the front API cannot listen on" in said
    assert not pipeline.store.exists()


def test_what_a_guard_holds_a_person_frees(pipeline: "Pipeline") -> None:
    """A cycle stops at `max_hops`; the run says how to go on, and a freed job runs and stops one hop further."""
    pipeline.write("""
ion: 1
guards: {max_hops: 3}
modules:
  round: {command: [sh, round.sh], on: again, emits: again}
""")
    (pipeline.folder / "round.sh").write_text("""echo '{"type": "again"}' > "$ION_DIR/out/events/a.json"\n""")
    assert "1 job held by a pause or a guard" in pipeline.ion("run", "--event", "again", code=1)
    (held,) = [job for job in pipeline.jobs("round") if job.hold]
    assert held.hold is Hold.HOPS
    assert len(pipeline.jobs("round")) == 4
    pipeline.ion("job", "retry", held.id)
    pipeline.ion("run", code=1)
    assert len(pipeline.jobs("round")) == 5
    assert [job.state for job in pipeline.jobs("round")].count(State.RELEASED) == 4


def test_what_still_ends_while_stopping_is_shown(pipeline: "Pipeline") -> None:
    """Interrupted, a run lets its job end within the grace, and its line stands there before the last word."""
    script = "echo x >> TRACES; until [ -e TRACES.gate ]; do sleep 0.02; done"
    pipeline.write(f"ion: 1\nmodules: {{slow: {{command: [sh, -c, '{script}'], on: a}}}}\n")
    process = pipeline.start("run", "--event", "a")
    pipeline.until(lambda: bool(pipeline.traced()))
    process.send_signal(signal.SIGINT)
    pipeline.until(lambda: "stopping:" in (pipeline.folder / "output").read_text())
    (pipeline.folder / "traces.gate").touch()
    assert process.wait(PATIENCE_S) == 130
    output = (pipeline.folder / "output").read_text()
    assert output.index("stopping:") < output.index("✓ slow") < output.index("stopped;")
    pipeline.ion("run")
    assert {job.state for job in pipeline.jobs()} == {State.RELEASED}
