"""Time as places on a bar: the part of a report that is drawn."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from ion.model.job import Job, State

HUES = 8
WIDTH = 1000
"""A bar is drawn on a field so wide, in units of its own, stretched to the page."""

LEAST = 3.0


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """From times to places on a bar; open jobs reach until `now`. `hues` gives each module its colour."""

    start: datetime | None
    now: datetime
    seconds: float
    hues: Mapping[str, int]

    def place(self, when: datetime) -> float:
        assert self.start is not None
        share = (when - self.start).total_seconds() / self.seconds if self.seconds > 0 else 0.0
        return WIDTH * min(1.0, max(0.0, share))


def rect(scale: Scale, start: datetime, end: datetime, kind: str) -> str:
    left, right = scale.place(start), scale.place(end)
    width = max(LEAST, right - left)
    return f'<rect class="{kind}" x="{min(left, WIDTH - width):.1f}" width="{width:.1f}" y="3" height="10" rx="2"/>'


def bar(content: str) -> str:
    return f'<svg class="bar" viewBox="0 0 {WIDTH} 16" preserveAspectRatio="none" aria-hidden="true">{content}</svg>'


def runs(job: Job, now: datetime) -> list[tuple[datetime, datetime, bool]]:
    """When each attempt began and ended (a running one: now), and whether it failed, as far back as the history is."""
    found: list[tuple[datetime, datetime, bool]] = []
    began: datetime | None = None
    for change in job.history:
        if change.state is State.RUNNING:
            began = began or change.at
        elif began is not None:
            found.append((began, change.at, change.state in (State.WAITING, State.DEAD, State.CANCELLED)))
            began = None
    if job.state is State.RUNNING and job.started_at:
        found.append((job.started_at, now, False))
    elif not found and job.started_at and job.ended_at:
        found.append((job.started_at, job.ended_at, job.state in (State.DEAD, State.CANCELLED)))
    return found
