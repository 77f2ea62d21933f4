"""The trace that events carry."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ion.messaging import trace
from ion.model import ids

KNOWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
JOB = "7d1a4e0c-31c5-5a33-9d0b-6b6f1f0a2018"


def test_a_traceparent_is_read_and_written_alike() -> None:
    """The standard's own example comes back as it went."""
    parsed = trace.parse(KNOWN)
    assert parsed is not None
    assert (parsed.trace_id, parsed.span_id, parsed.flags) == (KNOWN[3:35], KNOWN[36:52], 1)
    assert str(parsed) == KNOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        KNOWN.upper(),
        KNOWN + "-more",
        KNOWN + "\n",
        "ff" + KNOWN[2:],
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        KNOWN[:-1],
    ],
)
def test_an_invalid_traceparent_is_none(text: str) -> None:
    """What the standard calls invalid is taken as absent, never as an error."""
    assert trace.parse(text) is None


def test_a_later_version_is_read_as_far_as_it_is_sure() -> None:
    """Of a version to come, the ids and the sampled flag are taken."""
    parsed = trace.parse("01" + KNOWN[2:-2] + "ff-more")
    assert parsed is not None
    assert str(parsed) == KNOWN


def test_a_new_trace_is_valid_sampled_and_its_own() -> None:
    """Two new traces differ and both can be read."""
    first, second = trace.parse(trace.new_trace()), trace.parse(trace.new_trace())
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id
    assert first.flags == 1


@settings(deadline=None)
@given(flags=st.integers(0, 255))
def test_a_job_keeps_the_trace_and_gets_its_own_span(flags: int) -> None:
    """A job's span is the beginning of its id; trace and flags are the event's."""
    assert trace.child(f"{KNOWN[:-2]}{flags:02x}", JOB) == f"{KNOWN[:36]}7d1a4e0c31c55a33-{flags:02x}"


@settings(deadline=None)
@given(text=st.text())
def test_a_job_without_a_trace_always_gets_the_same(text: str) -> None:
    """Without a usable parent the trace is derived from the job, so a repetition gives it again."""
    made = trace.child(text, JOB)
    assert made == trace.child("", JOB)
    assert trace.parse(made) is not None
    assert made != trace.child("", ids.new_id())
