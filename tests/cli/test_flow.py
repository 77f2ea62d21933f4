"""`ion flow` and `ion trace`: whole flows."""

import re
import subprocess
from typing import TYPE_CHECKING

from tests.cli.programs import ION, PATIENCE_S

from ion.model.event import Event
from ion.model.job import State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Bench


def test_list_shows_the_newest_flow_first(bench: "Bench", flow: Event) -> None:
    """The table has a row a flow: whether it is open, how many jobs it has, how many are open and dead."""
    bench.photo("album-3")
    header, *rows = bench.ion("flow", "list").stdout.splitlines()
    assert header.split() == ["FLOW", "STARTED", "STATE", "JOBS", "OPEN", "DEAD"]
    assert [[row.split()[0], *row.split()[3:]] for row in rows] == [
        ["album-3", "open", "2", "1", "0"],
        [flow.correlation_id, "quiet", "3", "0", "1"],
    ]
    assert [one["correlation_id"] for one in bench.json("flow", "list", "--limit", "1", "--json")] == ["album-3"]


def test_list_gives_one_document_for_scripts(bench: "Bench", flow: Event) -> None:
    """`--json` counts a flow's jobs by state."""
    (one,) = bench.json("flow", "list", "--json")
    assert one["states"] == {"released": 2, "dead": 1}
    assert (one["state"], one["jobs"], one["open"]) == ("quiet", 3, 0)


def test_a_flow_is_paused_resumed_and_cancelled(bench: "Bench") -> None:
    """Pausing holds its waiting jobs, resuming frees them, cancelling ends them."""
    bench.photo("album-3")
    assert bench.ion("flow", "pause", "alb").stdout == "flow album-3 is paused\n"
    assert bench.jobs("detect")[0].hold is not None
    assert bench.json("flow", "list", "--json")[0]["state"] == "paused"
    assert bench.ion("flow", "resume", "alb").stdout == "flow album-3 goes on\n"
    assert bench.jobs("detect")[0].hold is None
    assert bench.ion("flow", "cancel", "alb").stdout == "flow album-3 is cancelled\n"
    assert bench.jobs("detect")[0].state is State.CANCELLED
    bench.ion("flow", "cancel", "alb")


def test_a_cancelled_flow_cannot_be_resumed(bench: "Bench") -> None:
    """Cancelling is for good: resuming and pausing exit with 2."""
    bench.photo("album-3")
    bench.ion("flow", "cancel", "album-3")
    for command in ("resume", "pause"):
        assert "cannot be taken back" in bench.ion("flow", command, "album-3", code=2).stderr


def test_unknown_and_ambiguous_flows_are_refused(bench: "Bench") -> None:
    """Every command on a flow exits with 2 where the id fits none, or several."""
    bench.photo("album-1")
    bench.photo("album-2")
    for command in (
        ("flow", "pause"),
        ("flow", "resume"),
        ("flow", "cancel"),
        ("flow", "report"),
        ("trace", "flow", "-c"),
    ):
        unknown = bench.ion(*command, "zzz", code=2)
        assert unknown.stderr.endswith("Error: there is no flow 'zzz': `ion flow list` shows those there are\n")
        assert unknown.stdout == ""
        several = bench.ion(*command, "album-", code=2).stderr
        assert "several flows begin with 'album-': album-2, album-1; give more of the id" in several


def test_an_exact_id_wins_over_longer_ones(bench: "Bench") -> None:
    """An id that is the beginning of another one names its own flow."""
    bench.photo("album")
    bench.photo("album-2")
    assert bench.ion("flow", "pause", "album").stdout == "flow album is paused\n"


def test_report_writes_a_page_and_prints_its_path(bench: "Bench", flow: Event) -> None:
    """Without -o the page lies in the store's folder `reports`, named by the flow."""
    printed = bench.ion("flow", "report", flow.correlation_id[:6]).stdout
    page = bench.store / "reports" / f"ion-flow-{flow.correlation_id[:8]}.html"
    assert printed == f"{page}\n"
    assert "cat.jpg" in page.read_text()


def test_report_writes_where_it_is_told(bench: "Bench", flow: Event, tmp_path: "Path") -> None:
    """-o names the file; a folder that is not there is refused, and so are no id and two."""
    page = tmp_path / "flow.html"
    bench.ion("flow", "report", "-c", flow.correlation_id, "-o", str(page))
    assert page.read_text().startswith("<!doctype html>")
    nowhere = str(tmp_path / "no" / "flow.html")
    assert "there is no folder" in bench.ion("flow", "report", flow.correlation_id, "-o", nowhere, code=2).stderr
    for ids in ((), ("a", "-c", "b")):
        assert "give its id once" in bench.ion("flow", "report", *ids, code=2).stderr


def test_show_counts_jobs_by_module_and_state(bench: "Bench", flow: Event) -> None:
    """A row a module, a column a state that occurs; JSON nests them."""
    lines = bench.ion("flow", "show", flow.correlation_id[:6]).stdout.splitlines()
    assert lines[0] == f"flow       {flow.correlation_id}"
    assert [line.split() for line in lines[-4:]] == [
        ["MODULE", "RELEASED", "DEAD"],
        ["cli", "1", "0"],
        ["count", "0", "1"],
        ["detect", "1", "0"],
    ]
    shown = bench.json("flow", "show", "--json", flow.correlation_id)
    assert shown["modules"] == {"cli": {"released": 1}, "count": {"dead": 1}, "detect": {"released": 1}}


def test_a_flow_gets_a_priority(bench: "Bench") -> None:
    """Its jobs have it, also one below zero; what is out of bounds is refused."""
    bench.photo("album-3")
    assert bench.ion("flow", "prioritise", "alb", "-7").stdout == "flow album-3 has the priority -7\n"
    assert bench.jobs("detect")[0].priority == -7
    assert bench.json("flow", "show", "alb", "--json")["priority"] == -7
    assert "from -1,000 to 1,000" in bench.ion("flow", "prioritise", "alb", "1001", code=2).stderr
    bench.ion("flow", "prioritise", "alb", "high", code=2)


def test_wait_tells_by_its_exit_code_whether_all_went_well(bench: "Bench", flow: Event) -> None:
    """0 for a quiet flow of released jobs, 1 where one died, one is stuck, or the time is up."""
    died = bench.ion("flow", "wait", flow.correlation_id[:6], code=1)
    assert died.stdout == f"flow {flow.correlation_id}: 2 released, 1 dead\n"
    bench.photo("album-3")
    late = bench.ion("flow", "wait", "alb", "--timeout", "10ms", code=1)
    assert "flow alb is not quiet after 10ms" in late.stderr
    bench.ion("flow", "pause", "alb")
    assert "held by a pause" in bench.ion("flow", "wait", "alb", code=1).stderr
    bench.ion("flow", "resume", "alb")
    bench.succeed("detect", out={})
    assert bench.ion("flow", "wait", "alb").stdout == "flow album-3: 2 released\n"


def test_wait_follows_a_flow_that_goes_on_meanwhile(bench: "Bench") -> None:
    """It ends when the last job has, whoever runs it."""
    bench.photo("album-3")
    command = [*ION, "--store", str(bench.store), "flow", "wait", "album-3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("store: ")
        bench.succeed("detect", out={})
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "flow album-3: 2 released\n")


# ---- ion trace --------------------------------------------------------------------------------------------------


def test_trace_prints_every_record_as_one_array(bench: "Bench", flow: Event) -> None:
    """The records of a flow come in the original's shapes, in the order in which they were made."""
    records = bench.json("trace", "flow", "-c", flow.correlation_id)
    assert {record["context"]["correlationId"] for record in records} == {flow.correlation_id}
    kinds = [record["context"]["documentType"] for record in records]
    assert kinds[0] == "eventMeta"
    assert sorted(kinds) == ["eventMeta", "eventMeta", "insight", "modulelogs"]
    assert records[0]["id"] == flow.id
    assert records[0]["context"]["parentEventId"] == "cli"


def test_trace_of_a_flow_without_records_is_an_empty_array(bench: "Bench") -> None:
    """A flow that is known but has recorded nothing yet prints a document all the same."""
    bench.ion("event", "create", "--event-type", "photo", "--correlation-id", "new")
    assert bench.json("trace", "flow", "-c", "new") == []


def test_trace_needs_a_flow(bench: "Bench") -> None:
    """Without -c the usage is explained, with exit code 2."""
    assert "Missing option '-c'" in bench.ion("trace", "flow", code=2).stderr


def test_trace_draws_a_flow_as_a_tree(bench: "Bench", flow: Event) -> None:
    """Each job stands below the job that raised its event, with state and failure."""
    lines = bench.ion("trace", "flow", "--tree", "-c", flow.correlation_id[:7]).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:1]] == ["cli"]
    assert lines[1].startswith("└─ detect  ")
    assert lines[2].startswith("   └─ count  ")
    assert "dead" in lines[2]
    assert lines[2].endswith("module: exit code 3")


def test_trace_draws_a_flow_as_a_flowchart(bench: "Bench", flow: Event) -> None:
    """A box a job, an arrow from the job that raised its event, named by the event's type."""
    lines = bench.ion("trace", "flow", "--mermaid", "-c", flow.correlation_id[:7]).stdout.splitlines()
    assert lines[0] == "flowchart LR"
    boxes = [line for line in lines if '["' in line]
    arrows = [line.split() for line in lines if "-->" in line]
    assert [box.partition('["')[2].split("<br>")[0] for box in boxes] == ["cli", "detect", "count"]
    assert [arrow[1] for arrow in arrows] == ['-->|"photo"|', '-->|"face"|']
    assert boxes[2].endswith(":::dead")
    assert "exclude one another" in bench.ion("trace", "flow", "-c", "a", "--tree", "--mermaid", code=2).stderr


def test_foreign_text_draws_nothing_in_a_flowchart(bench: "Bench") -> None:
    """Quotes, brackets, markup and what Mermaid has a meaning for come out as entities."""
    bench.photo("album-3", subject='"]:::x <b>%%{init}%% `#59;`')
    lines = bench.ion("trace", "flow", "--mermaid", "-c", "album-3").stdout.splitlines()
    (box,) = [line for line in lines if '["detect' in line]
    label = box.partition('["')[2].rpartition('"]')[0]
    assert not set('"[]<>%{}`#;') & set(re.sub(r"#\d+;|<br>", "", label)), label
