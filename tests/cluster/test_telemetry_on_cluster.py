"""A flow partly in pods, as a trace: nothing in them knows of it."""

from collections.abc import Iterator

import pytest
from tests.acceptance.conftest import Pipeline
from tests.cluster.ion_platform import Platform, media, pipeline, platform
from tests.cluster.test_media_on_cluster import FEW, MIXED, clip, raised, served
from tests.telemetry.collector import Collector, Span, http_collector

__all__ = ["clip", "pipeline", "platform"]

STEPS = ["wait", "prepare", "module", "commit", "release"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with http_collector() as one:
        yield one


def test_a_flow_through_pods_is_one_trace(
    platform: Platform, pipeline: Pipeline, clip: str, collector: Collector
) -> None:
    """With every step of every job, those in pods by the times that their pods and manifests tell."""
    pipeline.write(media(platform, MIXED))
    pipeline.start("up", env={**FEW, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
    pipeline.ion("flow", "wait", raised(served(pipeline), clip), "--timeout", "4m")
    jobs = {job.id.replace("-", "")[:16]: job for job in pipeline.jobs()}
    collector.until(lambda: jobs.keys() <= {span.span_id for span in collector.spans})
    spans: list[Span] = collector.spans
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert len({span.trace_id for span in spans}) == 1
    assert {span.parent_id for span in spans} - {""} <= by_id.keys()
    node = platform.kubectl("get", "nodes", "-o", "name").strip().split("/")[1]
    in_pods = [span for span in spans if span.name in ("module frames", "module faces")]
    assert len(in_pods) == 4
    assert {span.attributes["host.name"] for span in in_pods} == {node}
    for module in in_pods:
        whole = by_id[module.parent_id]
        steps = [span for span in spans if span.parent_id == whole.span_id and "ion.step" in span.attributes]
        assert [step.attributes["ion.step"] for step in steps] == STEPS
        assert whole.began_ns <= module.began_ns < module.ended_ns <= whole.ended_ns
        assert steps[1].seconds > 0  # a pod was made, and its inputs were brought
