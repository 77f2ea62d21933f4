"""Log lines on standard error: text for people, JSON for whoever collects them.

A line that is written while a job is worked on has the job's ids in JSON, and the trace that the job belongs to.
"""

import logging
import time
from typing import Any

TEXT = "%(levelname)s %(name)s: %(message)s"
MOST = 16_000
"""Characters of a message, or of an exception; what is between the begin and the end of a longer one is left out."""


def configure(*, verbose: bool, as_json: bool) -> None:
    """Log lines go to standard error, one each: warnings, and with `verbose` what is done too."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=TEXT)
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        import msgspec

        line: dict[str, Any] = {
            "time": _moment(record.created),
            "level": record.levelname,
            "logger": printable(record.name),
            "message": message_of(record),
            **{name: value for name, value in about().items() if name != "flags"},
        }
        if record.exc_info:
            line["exception"] = printable(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = printable(record.stack_info)
        return msgspec.json.encode(line).decode()


def message_of(record: logging.LogRecord) -> str:
    """What a log record says, `printable`; one whose values do not fit its text is told as it was given."""
    try:
        return printable(record.getMessage())
    except Exception as error:  # noqa: BLE001 - anybody's faulty call, of any library: still a line, and no harm
        return printable(f"{record.msg!s} ({type(error).__name__}: its values do not fit)")


def printable(text: str) -> str:
    """A text that can be encoded: names of files may hold bytes that are no text. Of a long one, begin and end."""
    if len(text) > MOST:
        text = f"{text[: MOST // 2]} [{len(text) - MOST} characters] {text[-MOST // 2 :]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def about() -> dict[str, str | int]:
    """The job that is worked on now and its trace; empty where it is none in particular."""
    from ion.messaging.concerning import job_concerned
    from ion.messaging.trace import child, parse

    if (job := job_concerned()) is None or (trace := parse(child(job.event.traceparent, job.id))) is None:
        return {}
    return {
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "flags": trace.flags,
        "job": job.id,
        "module": job.module,
        "flow": job.correlation_id,
        "attempt": job.attempt,
    }


def _moment(seconds: float) -> str:
    """RFC 3339, in UTC, to the microsecond."""
    whole, part = divmod(seconds, 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(part * 1e6):06d}Z"
