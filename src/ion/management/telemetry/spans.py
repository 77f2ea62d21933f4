"""An attempt's life as spans.

    a gateway's job       send photo
      a job               process photo             its id: the first half of the job's
        its steps           wait, prepare, module detect, commit, release
        a job it started    process face            in the same trace, wherever it runs

Every id is derived: a job's span from the job's id (`ion.messaging.trace`), a step's from job, attempt and step. Who
tells of a step twice - a relay that was repeated, a dispatcher that took over - names the same span. Only the attempt
that committed is the job's span, for the job's events name that as their parent, and one attempt at most commits (R3).
Attempts that failed have ids of their own, beside it, and link to it.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from ion.dispatcher.finish import Step
from ion.management.telemetry.delivery import without_queries
from ion.management.telemetry.lives import Life, Part
from ion.management.telemetry.records import Kind, Span, Value
from ion.messaging.trace import Trace, child, parse
from ion.model.event import FileRef
from ion.model.job import Failure, Job
from ion.model.manifest import ManifestRef, Usage

SENTENCE_MOST = 1000
"""Characters of a failure's sentence."""
_SPAN_DIGITS = 16
_NS = 1_000_000_000
_KINDS = {Part.RELEASE: Kind.PRODUCER}


class _Results(msgspec.Struct, frozen=True):
    """What spans tell of a manifest."""

    files: tuple[FileRef, ...] = ()
    host: str = ""
    usage: Usage = Usage()


def spans_of(life: Life) -> Sequence[Span]:
    """The attempt's span and its steps', the attempt's first."""
    whole = _attempt(life)
    return [whole, *_parts(life, whole)]


def job_trace(job: Job) -> Trace:
    """The trace of a job and its span."""
    trace = parse(child(job.event.traceparent, job.id))
    assert trace is not None  # it was written just now
    return trace


def step_id(job: str, attempt: int, step: str) -> str:
    """The span id of a step of an attempt; never the invalid one of noughts."""
    digest = hashlib.sha256(msgspec.json.encode([job, attempt, step])).hexdigest()[:_SPAN_DIGITS]
    return digest if digest.strip("0") else "1".zfill(_SPAN_DIGITS)


def parent_id(job: Job, trace: Trace) -> str:
    """The span that a job's hangs under: that of the event's producer. Empty if this is where the trace begins."""
    given = parse(job.event.traceparent)
    if given is None or given.span_id == trace.span_id:  # a gateway of Ion's began it
        return ""
    # An event without a trace has been given one of its own id: no producer's span has that.
    return "" if given.trace_id.startswith(given.span_id) else given.span_id


def _attempt(life: Life) -> Span:
    job, trace = life.job, job_trace(life.job)
    committed = life.outcome is Step.COMMITTED
    fault = life.progress.fault
    operation = "send" if life.root else "process"
    return Span(
        name=f"{operation} {job.event.type}",
        trace_id=trace.trace_id,
        span_id=trace.span_id if committed else step_id(job.id, job.attempt, "attempt"),
        parent_id=parent_id(job, trace),
        flags=trace.flags,
        kind=Kind.PRODUCER if life.root else Kind.CONSUMER,
        began_ns=_ns(life.began_s),
        ended_ns=_ns(life.ended_s),
        attributes=_of_job(life, operation),
        links=() if committed else (trace.span_id,),
        error=_said(fault),
    )


def _of_job(life: Life, operation: str) -> dict[str, Value]:
    job = life.job
    given: dict[str, Value] = {
        "messaging.system": "ion",
        "messaging.destination.name": job.event.type,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": job.event.id,
        "messaging.message.conversation_id": job.correlation_id,
        "messaging.consumer.group.name": "" if life.root else job.module,
        "ion.job": job.id,
        "ion.flow": job.correlation_id,
        "ion.module": job.module,
        "ion.attempt": job.attempt,
        "ion.outcome": life.outcome.value,
        "ion.dispatcher": job.owner,
        "ion.revision": job.revision,
        "ion.hops": job.event.hops,
        "ion.run": job.run,
        **_of_failure(life.progress.fault),
    }
    return {name: value for name, value in given.items() if value != ""}


def _of_failure(failure: Failure | None) -> dict[str, Value]:
    return {"error.type": failure.kind.value} if failure else {}


def _said(failure: Failure | None) -> str:
    return without_queries(failure.message)[:SENTENCE_MOST] if failure else ""


def _parts(life: Life, whole: Span) -> Iterator[Span]:
    results = _results(life.job.manifest or life.progress.manifest)
    for part, began_s, ended_s in life.parts:
        got_no_further = part is life.parts[-1][0] and part is not Part.WAIT
        fault = life.progress.fault if got_no_further else None
        yield Span(
            name=f"{part.value} {life.job.module}" if part is Part.MODULE else part.value,
            trace_id=whole.trace_id,
            span_id=step_id(life.job.id, life.job.attempt, part),
            parent_id=whole.span_id,
            flags=whole.flags,
            kind=_KINDS.get(part, Kind.INTERNAL),
            began_ns=_ns(began_s),
            ended_ns=_ns(ended_s),
            attributes={**_of_step(life, part, results), **_of_failure(fault)},
            error=_said(fault),
        )


def _of_step(life: Life, part: Part, results: _Results) -> dict[str, Value]:
    job = life.job
    given: dict[str, Value] = {"ion.job": job.id, "ion.flow": job.correlation_id, "ion.module": job.module}
    given |= {"ion.attempt": job.attempt, "ion.step": part.value}
    if part is Part.PREPARE:
        given |= _of_files(job.event.files)
    elif part is Part.MODULE:
        given |= _of_module(life, results)
    elif part is Part.COMMIT and job.manifest:
        given |= _of_files(results.files) if job.manifest.inline else {}
        given |= {"ion.files": job.manifest.files, "ion.insights": job.manifest.insights}
    elif part is Part.RELEASE and job.manifest:
        given |= {"messaging.system": "ion", "messaging.operation.name": "publish", "messaging.operation.type": "send"}
        given["messaging.batch.message_count"] = job.manifest.events
    return given


def _of_files(files: Sequence[FileRef]) -> dict[str, Value]:
    return {"ion.files": len(files), "ion.transfer.size": sum(file.size for file in files)}


def _of_module(life: Life, results: _Results) -> dict[str, Value]:
    failure, usage = life.progress.failure, results.usage
    given: dict[str, Value] = {}
    if results.host:
        given["host.name"] = results.host
    if failure is not None and failure.exit_code is not None:
        given["process.exit.code"] = failure.exit_code
    if usage != Usage():
        given |= {"ion.cpu.time": usage.cpu_s, "ion.gpu.time": usage.gpu_s, "ion.memory.peak": usage.peak_memory}
    return given


def _results(ref: ManifestRef | None) -> _Results:
    """Of a manifest that is in the row; a large one is not fetched for this."""
    return msgspec.json.decode(ref.inline, type=_Results) if ref is not None and ref.inline else _Results()


def _ns(seconds: float) -> int:
    return round(seconds * _NS)
