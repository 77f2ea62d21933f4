"""`ion bus` and `ion event peek|get`: what the bus carries, on the embedded one."""

import json
from typing import TYPE_CHECKING

from ion.model.event import Event
from ion.model.job import State
from ion.model.module import Module, Subscription

if TYPE_CHECKING:
    from tests.cli.conftest import Bench


def late(bench: "Bench") -> None:
    """A module that comes after the flow has ended, beside those that are there."""
    from tests.cli.conftest import MODULES

    bench.apply(*MODULES, Module(name="late", command=("true",), on=(Subscription(type="face"),)))


def test_a_module_that_came_late_gets_the_jobs_of_events_before_its_time(bench: "Bench", flow: Event) -> None:
    """Once; and nobody else gets anything."""
    late(bench)
    before = len(bench.jobs("count"))
    assert bench.ion("bus", "replay", "--since", "1h", "--module", "late").stdout == "2 events started 1 new job\n"
    assert bench.ion("bus", "replay", "--since", "1h", "--module", "late").stdout == "2 events started 0 new jobs\n"
    (job,) = bench.jobs("late", State.WAITING)
    assert job.correlation_id == flow.correlation_id
    assert len(bench.jobs("count")) == before


def test_a_dry_run_of_a_replay_changes_nothing(bench: "Bench", flow: Event) -> None:
    """It only counts what would be started."""
    del flow
    late(bench)
    assert bench.ion("bus", "replay", "--since", "1h", "--dry-run").stdout == "2 events would start 1 new job\n"
    assert bench.jobs("late") == ()


def test_a_replay_leaves_out_what_was_raised_before(bench: "Bench", flow: Event) -> None:
    """The time bounds it."""
    del flow
    late(bench)
    assert bench.ion("bus", "replay", "--since", "0s").stdout == "0 events started 0 new jobs\n"


def test_a_replay_publishes_for_those_outside(bench: "Bench", flow: Event) -> None:
    """A subscription made later receives the event of then, with the id that it had."""
    bench.ion("event", "peek", "--event-type", "face", "--sub-name", "me", "--timeout", "0s", code=2)
    bench.ion("bus", "replay", "--since", "1h")
    peeked = bench.ion("event", "peek", "--event-type", "face", "--sub-name", "me").stdout
    assert json.loads(peeked)["type"] == "face"
    assert bench.ion("event", "get", "--event-type", "face", "--sub-name", "me").stdout == peeked
    (job,) = bench.jobs("count")
    assert json.loads(peeked)["id"] == job.event.id
    assert flow.id != job.event.id


def test_what_was_taken_is_gone(bench: "Bench", flow: Event) -> None:
    """`get` takes the event; the next call waits, and says that nothing came."""
    del flow
    bench.ion("event", "peek", "--event-type", "face", "--sub-name", "me", "--timeout", "0s", code=2)
    bench.ion("bus", "replay", "--since", "1h")
    bench.ion("event", "get", "--event-type", "face", "--sub-name", "me")
    again = bench.ion("event", "get", "--event-type", "face", "--sub-name", "me", "--timeout", "10ms", code=2)
    assert "no event of type 'face' came for the subscription 'me' within 10ms" in again.stderr


def test_depth_names_each_module(bench: "Bench") -> None:
    """On the embedded bus nothing waits for modules: an event becomes a job at once."""
    assert [(row["module"], row["depth"]) for row in bench.json("bus", "depth", "--json")] == [
        ("count", 0),
        ("detect", 0),
    ]
    assert "waits as one" in bench.ion("bus", "depth").stderr


def test_a_replay_for_an_unknown_module_is_refused(bench: "Bench") -> None:
    """With a sentence that names it."""
    assert "there is no module nobody" in bench.ion("bus", "replay", "--since", "1h", "-n", "nobody", code=2).stderr
