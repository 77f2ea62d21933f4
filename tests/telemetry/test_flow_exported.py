"""A whole flow at a collector: one trace over two dispatchers, metrics and log records beside it."""

import json
import re
from collections import Counter
from itertools import pairwise

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cli.programs import Folder, Serving, keeps, raises, shell, until
from tests.telemetry.collector import Collector, Span, grpc_collector

from ion.model.job import FailureClass, State

CONSUMER, PRODUCER = 5, 4
EVENT = "0d1a4e0c-31c5-4a33-9d0b-6b6f1f0a2018"
STEPS = ["wait", "prepare", "module", "commit", "release"]

BOTH = 'echo x >> both; while [ "$(wc -l < both)" -lt 2 ]; do sleep 0.02; done; '
"""A script that waits for another one like it: each takes the whole of a machine, so they are on two dispatchers."""
TWICE = """for n in 1 2; do printf '{"type": "face"}' > "$ION_DIR/out/events/$n.json"; done; """
THREE = {
    "cut": shell(keeps("a.txt", "12345") + TWICE, on="clip", emits="face"),
    "detect": shell(BOTH + raises("found"), on="face", emits="found", resources={"cpu": 1}),
    "count": shell("true", on="found"),
}


def serve_twice(here: Folder, exporting: dict[str, str]) -> tuple[Serving, Serving]:
    """Two `ion up` of one store, each with room for one job."""
    one, other = (here.up(env=exporting) for _ in range(2))
    return one, other


def end(*serving: Serving) -> None:
    """In order, so that all is exported."""
    for one in serving:
        one.program.signal(15)
        one.program.wait()


def one_trace(spans: list[Span]) -> dict[str, Span]:
    """Spans by their id; they are one trace with one root, each id is told once, and each parent is there."""
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), Counter(span.span_id for span in spans).most_common(3)
    assert len({span.trace_id for span in spans}) == 1
    assert [span.name for span in spans if not span.parent_id] == ["send clip"]
    assert {span.parent_id for span in spans} - {""} <= by_id.keys()
    return by_id


def children(spans: list[Span], parent: Span) -> list[Span]:
    return [span for span in spans if span.parent_id == parent.span_id]


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def step_of(span: Span) -> str:
    return str(span.attributes.get("ion.step", ""))


def test_a_flow_over_two_dispatchers_is_one_trace(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """With a span for each step under its job's, each job's under that of the job that raised its event."""
    here.pipeline(THREE, machine={"cpu": 1})
    serving = serve_twice(here, exporting)
    assert serving[0].post("/events/clip", files={"file": ("c.mp4", b"a clip")}).status_code == 200
    until(lambda: here.released("count", 2))
    end(*serving)
    spans = collector.spans
    one_trace(spans)
    (send,) = named(spans, "send clip")
    (cut,) = named(spans, "process clip")
    detect, count = named(spans, "process face"), named(spans, "process found")
    assert cut.parent_id == send.span_id
    assert {span.parent_id for span in detect} == {cut.span_id}
    assert {span.parent_id for span in count} == {span.span_id for span in detect}
    assert len({span.process for span in detect}) == 2
    for job in (cut, *detect, *count):
        steps = [span for span in children(spans, job) if step_of(span)]
        assert [step_of(span) for span in steps] == STEPS
        assert (steps[0].began_ns, steps[-1].ended_ns) == (job.began_ns, job.ended_ns)
        assert all(one.ended_ns == then.began_ns for one, then in pairwise(steps))


def test_spans_say_what_they_are_about(here: Folder, collector: Collector, exporting: dict[str, str]) -> None:
    """By OpenTelemetry's conventions where there are some; the durations are those of the work."""
    here.pipeline({**THREE, "detect": shell("sleep 0.3; " + raises("found"), on="face", emits="found")})
    here.run("--event", "clip", "--file", str(here.write("c.mp4", "a clip")), env=exporting)
    spans = collector.spans
    (job,) = here.jobs("cut")
    (cut,), (module,) = named(spans, "process clip"), named(spans, "module cut")
    (commit,) = [one for one in children(spans, cut) if one.name == "commit"]
    (release,) = [one for one in children(spans, cut) if one.name == "release"]
    (prepare,) = [one for one in children(spans, cut) if one.name == "prepare"]
    assert cut.attributes == {
        "messaging.system": "ion",
        "messaging.destination.name": "clip",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": job.event.id,
        "messaging.message.conversation_id": job.correlation_id,
        "messaging.consumer.group.name": "cut",
        "ion.job": job.id,
        "ion.flow": job.correlation_id,
        "ion.module": "cut",
        "ion.attempt": 1,
        "ion.outcome": "committed",
        "ion.dispatcher": job.owner,
        "ion.revision": job.revision,
        "ion.hops": 0,
        "ion.run": 0,
    }
    assert (cut.kind, release.kind) == (CONSUMER, PRODUCER)
    assert (prepare.attributes["ion.files"], prepare.attributes["ion.transfer.size"]) == (1, 6)
    assert (commit.attributes["ion.files"], commit.attributes["ion.transfer.size"]) == (1, 6)
    assert release.attributes["messaging.batch.message_count"] == 2
    assert module.attributes["host.name"]
    assert all(span.seconds >= 0.3 for span in named(spans, "module detect"))
    resource = collector.resources[0]
    assert (resource["service.name"], resource["host.name"]) == ("ion", module.attributes["host.name"])


def test_a_callers_trace_goes_on(here: Folder, collector: Collector, exporting: dict[str, str]) -> None:
    """Where the event comes with a traceparent, the gateway's span and the jobs' hang under the caller's."""
    here.pipeline(THREE)
    up = here.up(env=exporting)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    up.post("/events/clip", files={"file": ("c.mp4", b"a clip")}, headers={"traceparent": parent})
    until(lambda: here.released("count", 2))
    end(up)
    assert {span.trace_id for span in collector.spans} == {parent.split("-")[1]}
    beneath = [span.name for span in collector.spans if span.parent_id == parent.split("-")[2]]
    assert sorted(beneath) == ["process clip", "send clip"]


def test_a_dispatcher_that_is_killed_leaves_one_trace(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """What it ran is another attempt's, with ids of its own; no id is told twice, and no parent is missing."""
    modules = {**THREE, "detect": shell('echo "$$" >> begun; while [ ! -e go ]; do sleep 0.02; done; '
                                        + raises("found"), on="face", emits="found", resources={"cpu": 1})}  # fmt: skip
    here.pipeline(modules, machine={"cpu": 1})
    serving = serve_twice(here, exporting)
    assert serving[0].post("/events/clip", files={"file": ("c.mp4", b"a clip")}).status_code == 200
    until(lambda: len(here.begun()) == 2)
    collector.until(lambda: bool(named(collector.spans, "process clip")))
    serving[1].program.kill()
    here.go()
    until(lambda: here.released("count", 2))
    end(serving[0])
    spans = collector.spans
    one_trace(spans)
    again = [job for job in here.jobs("detect", State.RELEASED) if job.attempt == 2]
    (lost,) = [span for span in spans if span.attributes.get("error.type") == "lost"]
    assert [job.failures for job in again] == [{FailureClass.LOST: 1}]
    assert (lost.attributes["ion.job"], lost.attributes["ion.attempt"]) == (again[0].id, 1)
    (job,) = [span for span in spans if span.attributes.get("ion.attempt") == 2 and span.name == "process face"]
    assert lost.links == (job.span_id,)
    assert lost.parent_id == job.parent_id


def test_an_attempt_that_fails_is_beside_the_one_that_succeeds(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """It says why, and in which step; log records of both are in the same trace."""
    script = 'echo x >> tries; [ "$(wc -l < tries)" -gt 1 ] || exit 7'
    here.pipeline({"detect": shell(script, on="photo", retries={"module": 1, "backoff": "1ms"})})
    here.run("--event", "photo", "--retries", "--verbose", env=exporting)
    spans = collector.spans
    failed, good = sorted(named(spans, "process photo"), key=lambda span: span.attributes["ion.attempt"])
    assert (failed.error, failed.attributes["error.type"]) == ("exit code 7", "module")
    (module,) = [one for one in children(spans, failed) if one.name == "module detect"]
    assert (module.attributes["process.exit.code"], module.error) == (7, "exit code 7")
    assert [step_of(one) for one in children(spans, failed)] == ["wait", "prepare", "module"]
    assert (failed.links, failed.parent_id) == ((good.span_id,), good.parent_id)
    lines = {line.message: line for line in collector.lines if line.trace_id}
    assert list(lines) == ["attempt 1 of detect: failed: exit code 7", "attempt 2 of detect is committed"]
    for line in lines.values():
        assert (line.trace_id, line.span_id) == (good.trace_id, good.span_id)
        assert line.attributes["ion.job"] == good.attributes["ion.job"]
        assert (line.severity, line.logger) == ("INFO", "ion.dispatcher.finish")


def test_what_is_counted_is_exported(here: Folder, collector: Collector, exporting: dict[str, str]) -> None:
    """The page's figures under OpenTelemetry's kind of names; histograms are whole."""
    here.pipeline({**THREE, "detect": shell("exit 3", on="face", emits="found")})
    here.run("--event", "clip", "--file", str(here.write("c.mp4", "a clip")), code=1, env=exporting)
    jobs = {key: point.as_double for key, point in collector.points("ion.jobs").items()}
    assert (jobs["cut", "waiting"], jobs["detect", "dead"]) == (0, 2)
    failures = {key: point.as_double for key, point in collector.points("ion.failures").items()}
    assert {key: value for key, value in failures.items() if value} == {("module", "detect"): 2}
    assert failures["lost", "count"] == 0
    transfers = {key: point.as_double for key, point in collector.points("ion.transfer.size").items()}
    assert transfers == {("in",): 6, ("out",): 6}
    steps = collector.points("ion.step.duration")
    assert {step for module, step in steps if module == "cut"} == set(STEPS)
    module = steps["detect", "module"]
    assert (module.count, sum(module.bucket_counts)) == (2, 2)
    assert len(module.bucket_counts) == len(module.explicit_bounds) + 1
    assert module.sum > 0
    assert not module.HasField("min")
    assert collector.metrics["ion.step.duration"].unit == "s"


def test_a_dispatcher_by_itself_exports_too(here: Folder, collector: Collector, exporting: dict[str, str]) -> None:
    """What another process raised: its part of the trace, and its own log lines as JSON."""
    here.pipeline({"detect": shell("true", on="photo")})
    here.run("--event", "photo")
    program = here.start("dispatcher", "start", "--verbose", env=exporting)
    created = ("--event-type", "photo", "--event-id", EVENT, "--correlation-id", "flow 1")
    here.ion("event", "create", *created)
    until(lambda: here.released("detect", 2))
    program.signal(15)
    program.wait()
    (span,) = named(collector.spans, "process photo")
    assert (span.attributes["ion.flow"], span.attributes["messaging.message.id"]) == ("flow 1", EVENT)
    assert '"message":"attempt 1 of detect is committed","trace_id":"' + span.trace_id in program.err


def test_the_page_and_the_collector_are_told_the_same(
    here: Folder, collector: Collector, exporting: dict[str, str]
) -> None:
    """It is counted in one place."""
    here.pipeline({"detect": shell("exit 3", on="photo", retries=1), "keep": shell("true", on="photo")})
    up = here.up("--metrics-port", "0", env=exporting | {"OTEL_METRIC_EXPORT_INTERVAL": "100", "ION_LOG": "text"})
    up.post("/events/photo", files={"file": ("a.jpg", b"a photo")})
    until(lambda: bool(here.jobs("detect", State.DEAD)) and here.released("keep"))
    counts = {("detect", "wait"): 2, ("keep", "release"): 1}

    def counted() -> bool:
        points = collector.points("ion.step.duration")
        return all(key in points and points[key].count == count for key, count in counts.items())

    collector.until(counted)
    (page,) = re.findall(r"^metrics: (\S+)$", up.program.err, re.MULTILINE)
    families = text_string_to_metric_families(httpx.get(page).text)
    samples = {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}
    end(up)
    attempts = {key: point.as_double for key, point in collector.points("ion.attempts").items()}
    assert {key: value for key, value in attempts.items() if value} == {
        ("detect", "failed"): 1,
        ("detect", "dead"): 1,
        ("keep", "committed"): 1,
    }
    for (module, outcome), value in attempts.items():
        assert samples["ion_attempts_total", ("module", module), ("outcome", outcome)] == value
    for (module, step), point in collector.points("ion.step.duration").items():
        assert samples["ion_step_seconds_count", ("module", module), ("step", step)] == point.count
        assert samples["ion_step_seconds_sum", ("module", module), ("step", step)] == point.sum


def test_a_collector_may_speak_grpc(here: Folder) -> None:
    """As OTEL_EXPORTER_OTLP_PROTOCOL says; headers and the service's name are as the variables say."""
    with grpc_collector() as collector:
        here.pipeline(THREE)
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret",
            "OTEL_SERVICE_NAME": "media",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        here.run("--event", "clip", env=env)
        one_trace(collector.spans)
        assert collector.metrics
        assert {headers["x-key"] for headers in collector.headers} == {"secret"}
        resource = collector.resources[0]
        assert (resource["service.name"], resource["deployment.environment.name"]) == ("media", "test")


@pytest.mark.parametrize(
    ("variables", "comes"),
    [
        ({"OTEL_TRACES_SAMPLER": "always_off"}, (False, True)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, (False, True)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ({"OTEL_SDK_DISABLED": "true"}, (False, False)),
    ],
)
def test_the_standard_variables_say_what_is_exported(
    here: Folder,
    collector: Collector,
    exporting: dict[str, str],
    variables: dict[str, str],
    comes: tuple[bool, bool],
) -> None:
    """Sampling is by the trace, although Ion marks its own as sampled."""
    here.pipeline(THREE)
    here.run("--event", "clip", env=exporting | variables)
    assert (bool(collector.spans), bool(collector.metrics)) == comes


def test_log_lines_of_what_serves_are_json(here: Folder) -> None:
    """Where no terminal is: each with its level, and those about a job with its ids and trace."""
    here.pipeline({"detect": shell("exit 7", on="photo", retries=0)})
    up = here.up("--verbose")
    up.post("/events/photo", files={"file": ("a.jpg", b"a photo")})
    until(lambda: bool(here.jobs("detect", State.DEAD)))
    end(up)
    lines = [json.loads(line) for line in up.program.err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["message"] == "attempt 1 of detect: dead: exit code 7"]
    (job,) = here.jobs("detect")
    assert (line["level"], line["logger"]) == ("INFO", "ion.dispatcher.finish")
    assert (line["job"], line["module"], line["flow"], line["attempt"]) == (job.id, "detect", job.correlation_id, 1)
    assert (line["trace_id"], line["span_id"]) == (job.event.traceparent.split("-")[1], job.id.replace("-", "")[:16])


def test_ion_log_chooses_how_log_lines_look(here: Folder) -> None:
    """Text where it says so, and JSON for a command that does not serve."""
    here.pipeline({"detect": shell("true", on="photo")})
    text = here.up("--verbose", env={"ION_LOG": "text"})
    until(lambda: "INFO ion.dispatcher.service: " in text.program.err)
    end(text)
    ended = here.run("--event", "photo", "--verbose", env={"ION_LOG": "json"})
    assert '"message":"attempt 1 of detect is committed"' in ended.err
    assert here.ion("job", "list", code=2, env={"ION_LOG": "xml"}).said == "ION_LOG is 'xml': give json, text or auto"
