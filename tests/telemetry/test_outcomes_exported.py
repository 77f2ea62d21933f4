"""How attempts end that do not commit, as a collector sees it: in which step, why, and what counts as a failure."""

from tests.cli.programs import WAITS, Folder, shell, until
from tests.telemetry.collector import Collector, Span

from ion.model.job import State

NAMES_NO_FILE = """printf '{"type": "photo", "files": ["gone"]}' > "$ION_DIR/out/events/e.json" """
ENDS = {
    "late": shell("sleep 600", on="late", timeout="300ms", retries=0),
    "broken": shell(NAMES_NO_FILE, on="broken", emits="photo", retries=0),
    "nowhere": {"command": ["/no/such/program"], "on": "nowhere"},
    "ended": shell(WAITS, on="ended", retries=0),
    "stays": shell("touch stays; sleep 600", on="stays"),
}


def shown(spans: list[Span], module: str) -> tuple[str, str, list[tuple[str, str]]]:
    """An attempt's outcome, its error's type, and its steps with theirs."""
    (whole,) = [span for span in spans if span.name == f"process {module}"]
    assert bool(whole.error) is ("error.type" in whole.attributes)
    steps = [span for span in spans if span.parent_id == whole.span_id]
    return (
        whole.attributes["ion.outcome"],
        whole.attributes.get("error.type", ""),
        [(step.attributes["ion.step"], step.attributes.get("error.type", "")) for step in steps],
    )


def test_an_attempt_fails_in_the_step_that_it_was_in(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """What a person ended, and what is given back since its dispatcher stops, did not fail and is no failure."""
    here.pipeline(ENDS)
    up = here.up("--stop-grace", "0", env=exporting)
    for event in ENDS:
        assert up.post(f"/events/{event}", files={"file": ("a", b"a")}).status_code == 200
    until(lambda: bool(here.begun()) and (here.path / "stays").exists())
    here.ion("job", "cancel", *[job.id for job in here.jobs("ended")])
    until(lambda: all(here.jobs(module, State.DEAD) for module in ("late", "broken", "nowhere")))
    until(lambda: bool(here.jobs("ended", State.CANCELLED)))
    up.program.signal(15)
    up.program.wait()
    spans = collector.spans
    wait, prepare, module = ("wait", ""), ("prepare", ""), ("module", "")
    assert shown(spans, "late") == ("dead", "timeout", [wait, prepare, ("module", "timeout")])
    assert shown(spans, "broken") == ("dead", "contract", [wait, prepare, module, ("commit", "contract")])
    assert shown(spans, "nowhere") == ("dead", "contract", [wait, ("prepare", "contract")])
    assert shown(spans, "ended") == ("cancelled", "", [wait, prepare, module])
    assert shown(spans, "stays") == ("given back", "", [wait, prepare, module])
    failures = {key for key, point in collector.points("ion.failures").items() if point.as_double}
    assert failures == {("timeout", "late"), ("contract", "broken"), ("contract", "nowhere")}
