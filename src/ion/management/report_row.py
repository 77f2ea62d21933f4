"""A job's row in a report: what is seen at once, and what unfolds."""

from collections.abc import Sequence

import msgspec

from ion.management.report_scale import Scale, bar, rect, runs
from ion.management.report_text import duration, href, many, moment, seconds_between, size, text
from ion.model.job import OPEN_STATES, Job, State


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a job: embedded at its first place (`data`), afterwards only referred to by `key`."""

    key: str
    name: str
    data: str = ""
    url: str = ""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A stored file; without a URL it is gone."""

    name: str
    size: int | None
    url: str


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A log: its tail as escaped text (None: not embedded), whether that is not all of it, and a link to the whole."""

    tail: str | None
    cut: bool
    file: Stored


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a job for its row."""

    insights: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Shown] = ()
    files: Sequence[Stored] = ()
    more_files: int = 0
    log: Log | None = None
    older_logs: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()


def job_opening(job: Job, details: Details, scale: Scale, *, silent: bool = False) -> str:
    """A job's row and what unfolds below it, left open for its children. `silent`: it raised nothing."""
    small, strip = _pictures(details.pictures)
    tries = f' <span class="tag">attempt {job.attempt}</span>' if job.attempt > 1 else ""
    state = "" if job.state is State.RELEASED else f' <span class="tag {job.state}">{job.state}</span>'
    quiet = ' <span class="tag">raised nothing</span>' if silent else ""
    hold = f' <span class="tag">held: {job.hold}</span>' if job.hold else ""
    short = [(key, value) for key, value in details.insights if value[:1] not in ("[", "{")][:5]
    found = " · ".join(f"{text(key, 24)} <b>{text(value, 40)}</b>" for key, value in short)
    facts = f'<span class="found">{found}</span>' if found else ""
    took = duration(seconds_between(job.started_at, scale.now if job.state is State.RUNNING else job.ended_at))
    dot = f'<span class="dot" role="img" aria-label="{job.state}" title="{job.state}"></span>'
    subject = f'<span class="subject">{text(job.event.subject, 200)}</span>'
    line = f'<span class="line"><b>{text(job.module, 60)}</b>{state}{hold}{quiet}{tries} {subject}</span>'
    return (
        f'<li class="job {job.state}" id="j-{text(job.id)}"><details{" open" if job.state is State.DEAD else ""}>'
        f'<summary class="row"><span class="what">{dot}{small}<span class="words">{line}{facts}</span></span>'
        f'{bar(_attempts(job, scale))}<span class="took">{took}</span></summary>{_body(job, details)}</details>'
        f"{strip}\n"
    )


CHILDREN_OPENING = "<ul>\n"
CHILDREN_CLOSING = "</ul>"
JOB_CLOSING = "</li>\n"


def _pictures(pictures: Sequence[Shown]) -> tuple[str, str]:
    """One picture stands in the row; several make a strip below it."""
    drawn = [
        f'<img class="shot" alt="{text(one.name, 120)}" title="{text(one.name, 120)}" loading="lazy" decoding="async" '
        + (f'id="{one.key}" src="{one.data}"' if one.data else f'data-of="{one.key}"')
        + ">"
        for one in pictures
    ]
    if len(drawn) == 1:
        return drawn[0], ""
    return "", f'<div class="strip">{"".join(drawn)}</div>' if drawn else ""


def _attempts(job: Job, scale: Scale) -> str:
    """Waiting thin, attempts solid; those that failed in the colour of failure."""
    if scale.start is None or not job.admitted_at:
        return ""
    end = scale.now if job.state in OPEN_STATES else job.ended_at or job.started_at or job.admitted_at
    left, right = scale.place(job.admitted_at), scale.place(end)
    drawn = f'<rect class="wait" x="{left:.1f}" width="{max(0.0, right - left):.1f}" y="7" height="2"/>'
    for start, stop, failed in runs(job, scale.now):
        drawn += rect(scale, start, stop, "run bad" if failed else f"run h{scale.hues[job.module]}")
    return drawn


def _body(job: Job, details: Details) -> str:
    """What unfolds: the failure first, then findings, files, the log, and the small print."""
    parts = []
    if job.failure:
        code = "" if job.failure.exit_code is None else f" (exit code {job.failure.exit_code})"
        last = "" if job.state is State.DEAD else "The last failed attempt: "
        parts.append(f'<p class="failure"><b>{job.failure.kind}</b> {last}{text(job.failure.message, 4000)}{code}</p>')
    if details.insights:
        parts.append(_list("Insights", details.insights))
    if details.files:
        more = f'<li class="quiet">… and {many(details.more_files, "more file")}</li>' if details.more_files else ""
        parts.append(f'<h3>Files</h3><ul class="files">{"".join(map(_file, details.files))}{more}</ul>')
    parts += [_log(details), _list("Job", [*_times(job), *details.facts])]
    return f'<div class="body">{"".join(parts)}</div>'


def _list(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<div><dt>{text(key, 80)}</dt><dd>{text(value, 2000)}</dd></div>" for key, value in pairs)
    return f"<h3>{title}</h3><dl>{lines}</dl>"


def _file(one: Stored) -> str:
    length = "" if one.size is None else f' <span class="quiet">{size(one.size)}</span>'
    link = f"<a{href(one.url)}>{text(one.name, 200)}</a>" if one.url else f"{text(one.name, 200)} (no longer stored)"
    return f"<li>{link}{length}</li>"


def _log(details: Details) -> str:
    older = "".join(f"<li><a{href(url)}>{text(name, 80)}</a></li>" for name, url in details.older_logs)
    said, tail, whole = "There is no log.", "", ""
    if log := details.log:
        said = _said(log)
        tail = f'<pre tabindex="0">{log.tail}</pre>' if log.tail else ""
        whole = _file(log.file) if log.tail != "" else ""
    note = f'<p class="quiet">{said}</p>' if said else ""
    links = f'<ul class="files">{whole}{older}</ul>' if whole or older else ""
    return f"<h3>Log</h3>{note}{tail}{links}"


def _said(log: Log) -> str:
    if log.tail is None:
        return "The log is not inside this page."
    if not log.tail:
        return "The log is empty."
    return "The end of the log; the whole is below." if log.cut else ""


def _times(job: Job) -> list[tuple[str, str]]:
    waited = duration(seconds_between(job.admitted_at, job.started_at))
    return [
        ("id", job.id),
        ("state", f"{job.state}, attempt {job.attempt}"),
        ("started by", f"{job.event.type} · {job.event.id}"),
        ("admitted", moment(job.admitted_at)),
        ("waited", waited),
        ("ran", duration(seconds_between(job.started_at, job.ended_at))),
    ]
