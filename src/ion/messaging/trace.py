"""The trace that an event carries: W3C Trace Context, https://www.w3.org/TR/trace-context/.

A flow is one trace across every hop (R10). A job's span is derived from the job's id, so every attempt, every host and
every repetition of the relay names the same span: nothing is sent twice under two names.
"""

import os
import re

import msgspec

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed `traceparent`: lower-case hexadecimal ids of 32 and 16 digits, and the flags of version 00."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse(traceparent: str) -> Trace | None:
    """What a `traceparent` says; None where it is absent or invalid, as the standard asks.

    A later version than 00 may carry more behind the flags, of which only "sampled" is sure to mean the same.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    known = int(flags, 16) if version == "00" else int(flags, 16) & _SAMPLED
    return Trace(trace_id=trace_id, span_id=span_id, flags=known)


def new_trace() -> str:
    """The `traceparent` of a new, sampled trace with random ids."""
    digits = os.urandom(24).hex()
    return str(Trace(trace_id=digits[:32], span_id=digits[32:]))


def child(traceparent: str, job_id: str) -> str:
    """The `traceparent` of a job: the same trace and flags, its span from the job's id.

    Args:
        traceparent: The event's. Where it is absent or invalid, the trace too is derived from the job's id.
        job_id: A UUID in canonical text.
    """
    digits = job_id.replace("-", "")
    parent = parse(traceparent)
    if parent is None:
        return str(Trace(trace_id=digits, span_id=digits[:16]))
    return str(Trace(trace_id=parent.trace_id, span_id=digits[:16], flags=parent.flags))
