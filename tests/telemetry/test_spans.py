"""Spans of lives: who is whose parent, and ids that repeat."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.telemetry.lived import BASE_S, FAILED, JOB, PARENT, committed, job

from ion.dispatcher.finish import Progress, Step
from ion.management.telemetry.lives import UNSEEN, failed_life, released_life
from ion.management.telemetry.records import Span
from ion.management.telemetry.spans import spans_of, step_id
from ion.messaging import trace
from ion.model.job import Job


def released(one: Job) -> list[Span]:
    return list(spans_of(released_life(one, UNSEEN, BASE_S + 40)))


def failed(attempt: int) -> list[Span]:
    told = Progress(job=job(attempt=attempt), step=Step.FAILED, failure=FAILED, began_s=BASE_S + 12)
    return list(spans_of(failed_life(told, BASE_S + 31)))


def test_who_tells_again_names_the_same_spans() -> None:
    """Another dispatcher that releases the job tells of the same spans; they differ in the release's end at most."""
    first = released(committed())
    again = list(spans_of(released_life(committed(owner="other"), UNSEEN, BASE_S + 44)))
    assert [span.span_id for span in first] == [span.span_id for span in again]
    for one, other in zip(first[1:-1], again[1:-1], strict=True):
        assert one == other


def test_the_attempt_that_committed_is_the_jobs_span() -> None:
    """Its children's events name it, and its own event's producer is its parent."""
    whole, *steps = released(committed())
    assert whole.span_id == JOB.replace("-", "")[:16]
    assert (whole.trace_id, whole.parent_id) == (PARENT.split("-")[1], PARENT.split("-")[2])
    assert {step.parent_id for step in steps} == {whole.span_id}


def test_a_sentence_of_any_length_is_one_of_a_span() -> None:
    """A thousand characters of it, for a queue holds thousands of spans."""
    endless = msgspec.structs.replace(FAILED, message="why " * 100_000)
    told = Progress(job=job(), step=Step.DEAD, failure=endless, began_s=BASE_S + 12)
    assert {len(span.error) for span in spans_of(failed_life(told, BASE_S + 31))} == {0, 1000}


def test_a_key_in_a_sentence_is_not_told() -> None:
    """A store's error may show the URL that it was about."""
    away = msgspec.structs.replace(FAILED, message="GET https://me:hidden@store/a?sig=hidden failed")
    told = Progress(job=job(), step=Step.DEAD, failure=away)
    assert spans_of(failed_life(told, BASE_S + 31))[0].error == "GET https://…store/a?… failed"


def test_no_two_attempts_and_no_two_steps_share_an_id() -> None:
    """Nor does an attempt that failed have the job's."""
    every = [*failed(1), *failed(2), *released(committed(attempt=3))]
    assert len({span.span_id for span in every}) == len(every)
    assert {span.trace_id for span in every} == {PARENT.split("-")[1]}


@given(st.uuids(), st.integers(1, 100), st.text())
def test_a_steps_id_is_valid(name: object, attempt: int, step: str) -> None:
    """Sixteen digits, and never all noughts."""
    found = step_id(str(name), attempt, step)
    assert trace.parse(f"00-{'1' * 32}-{found}-01") is not None


def test_where_a_trace_begins_there_is_no_parent() -> None:
    """A gateway's own event, and one that came without a trace from a bus, have no producer's span to hang under."""
    ours = msgspec.structs.replace(job().event, traceparent=trace.child(trace.new_trace(), JOB))
    came = msgspec.structs.replace(job().event, traceparent=trace.child("", "9d1a4e0c-31c5-5a33-9d0b-6b6f1f0a2018"))
    for event in (ours, came):
        whole, *_ = released(committed(event=event))
        assert whole.parent_id == ""
        assert whole.trace_id == event.traceparent.split("-")[1]


def test_what_a_trace_says_of_sampling_is_kept() -> None:
    """A caller that does not sample is heeded by whoever exports."""
    event = msgspec.structs.replace(job().event, traceparent=PARENT[:-2] + "00")
    assert {span.flags for span in released(committed(event=event))} == {0}


def test_steps_tell_what_the_manifest_knows() -> None:
    """Where it is in the row; of a large one only the counts, for it is not fetched for this."""
    by_name = {span.name: span.attributes for span in released(committed())}
    assert (by_name["module detect"]["host.name"], by_name["module detect"]["ion.cpu.time"]) == ("node-1", 3.5)
    assert by_name["commit"]["ion.transfer.size"] == 7
    row = committed()
    assert row.manifest is not None
    large = msgspec.structs.replace(row, manifest=msgspec.structs.replace(row.manifest, inline=""))
    by_name = {span.name: span.attributes for span in released(large)}
    assert "host.name" not in by_name["module detect"]
    assert by_name["commit"]["ion.files"] == 1
    assert "ion.transfer.size" not in by_name["commit"]
