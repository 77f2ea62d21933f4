"""Root events: what comes in from outside, by a gateway (the front API, the command line, a watcher).

A root event is the output of a job that the gateway does and commits. Its files and its manifest are stored first,
below a random execution of that job; then one admission puts the job into the ledger, already `committed`. From there
the relay treats it like the output of any module: documents, children, publication. So there is one way for events to
come into being, and it has no half-done state: before the admission nothing is visible, after it nothing can be lost.
A process killed in between leaves blobs that no row names.

An event's id decides: raising it again, at once or in a week, finds the job and changes nothing (R2).
"""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ion.errors import InvalidError, NotFoundError
from ion.management.root_files import RootFile, check_files, gathered, is_plain, seen, sweep
from ion.management.root_job import Draft, store
from ion.messaging.codec import TYPE_MOST, encode, gateway_source, valid_type
from ion.messaging.nearest import nearest
from ion.messaging.trace import child, new_trace, parse
from ion.model import ids
from ion.model.event import Event, utc_now
from ion.model.job import Job
from ion.ports.blobs import Blobs
from ion.ports.ledger import Ledger

__all__ = ["Raised", "RootEvent", "RootFile", "preview", "raise_event", "raise_events", "require_hearer"]

SUBJECT_LIMIT = 1024
NAMES_SHOWN = 20


class RootEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to raise; whatever is left empty gets a sensible value.

    `id`: a UUID is taken as it is, if the source is Ion's (default: the gateway's); any other id is a foreign one,
    unique within `source`, and so is every id if `foreign` is set. `data`: any JSON value, by habit an object.
    `subject` is what the event is about, else the first file's name or `url` in the data. `correlation_id` names the
    flow, `parent_id` what the event came from (default: the gateway's name).
    """

    type: str
    data: Any = msgspec.field(default_factory=dict)
    files: tuple[RootFile, ...] = ()
    subject: str = ""
    id: str = ""
    foreign: bool = False
    correlation_id: str = ""
    parent_id: str = ""
    source: str = ""
    time: datetime | None = None
    traceparent: str = ""


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a root event: the event that is in the ledger now, and the id of the gateway's job.

    `duplicate`: an event of that id had been raised before; it is that one, and nothing was changed.
    """

    event: Event
    job: str
    duplicate: bool = False


async def require_hearer(event_type: str, ledger: Ledger) -> None:
    """Raises InvalidError, with the nearest type that is heard, if no registered module subscribes to the type."""
    if await ledger.subscribers(event_type):
        return
    heard = sorted({wanted.type for registered in await ledger.modules() for wanted in registered.module.on})
    if not heard:
        raise InvalidError(
            f"nobody hears events of type '{event_type}': no module is registered; apply a pipeline first"
        )
    found = nearest(event_type, heard)
    hint = f"; did you mean '{found}'?" if found else "."
    more = f" and {len(heard) - NAMES_SHOWN} more" if len(heard) > NAMES_SHOWN else ""
    listed = ", ".join(heard[:NAMES_SHOWN])
    raise InvalidError(f"nobody hears events of type '{event_type}'{hint} Types that are heard: {listed}{more}")


async def raise_event(
    root: RootEvent, *, gateway: str, ledger: Ledger, blobs: Blobs, clock: Callable[[], datetime] = utc_now
) -> Raised:
    """Raises one root event; see `raise_events`."""
    (raised,) = await raise_events([root], gateway=gateway, ledger=ledger, blobs=blobs, clock=clock)
    return raised


async def raise_events(
    roots: Sequence[RootEvent],
    *,
    gateway: str,
    ledger: Ledger,
    blobs: Blobs,
    clock: Callable[[], datetime] = utc_now,
) -> tuple[Raised, ...]:
    """Raises root events in one admission: all of them or none. Those that name no flow share a new one.

    When it returns, the events are in the ledger. Repeating it with the same ids is harmless.

    Raises:
        InvalidError: an event cannot be used; nothing was stored.
        UnavailableError: a store is away. Nothing is visible, or (the ledger's answer was lost) everything is.
    """
    flow = ids.new_id()
    drafts = [_draft(root, gateway=gateway, flow=flow, now=clock()) for root in roots]
    known = [await _known(draft.job, ledger) if draft.named else None for draft in drafts]
    fresh = _distinct([draft for draft, job in zip(drafts, known, strict=True) if job is None])
    stored = await _stored(fresh, blobs, clock)
    # From here on nothing of ours may be removed for want of an answer: the admission may have taken effect.
    new = await ledger.admit([job for job, _ in stored]) if stored else frozenset()
    for draft in fresh:
        if draft.job not in new:
            await sweep(draft.prefix, blobs)
    events = {job.id: event for job, event in stored if job.id in new}
    return tuple([await _raised(draft, events, ledger) for draft in drafts])


def preview(roots: Sequence[RootEvent], *, gateway: str) -> Sequence[Event]:
    """The events as they would be raised, without their files; looks at the files and stores nothing.

    Raises:
        InvalidError: an event cannot be used.
    """
    flow = ids.new_id()
    drafts = [_draft(root, gateway=gateway, flow=flow, now=utc_now()) for root in roots]
    for draft in drafts:
        for file in draft.files:
            seen(file.file)
    return [draft.event for draft in drafts]


def _draft(root: RootEvent, *, gateway: str, flow: str, now: datetime) -> Draft:
    _check_type(root.type)
    check_files(root.files)
    source = root.source or gateway_source(gateway)
    event_id, origid = _identity(root, source)
    job = ids.root_job_id(event_id, gateway)
    event = Event(
        id=event_id,
        type=root.type,
        source=_text("source", source, 1024),
        correlation_id=_text("correlation id", root.correlation_id or flow, 128),
        parent_id=_text("parent id", root.parent_id or gateway, 128),
        time=root.time or now,
        subject=_text("subject", root.subject or _about(root), SUBJECT_LIMIT),
        traceparent=root.traceparent if parse(root.traceparent) else child(new_trace(), job),
        origid=_text("id", origid, 1024),
        data=root.data,
    )
    encode(event)  # refuses here what no bus could carry later
    return Draft(event=event, files=root.files, named=bool(root.id), gateway=gateway, job=job, execution=ids.new_id())


def _check_type(event_type: str) -> None:
    if not valid_type(event_type):
        raise InvalidError(
            f"the event type {event_type[:40]!r} cannot be used: give 1 to {TYPE_MOST} printable characters, no blanks"
        )
    if event_type.startswith("ion."):
        raise InvalidError(f"events of type '{event_type}' are Ion's own: use a type that does not begin with 'ion.'")


def _identity(root: RootEvent, source: str) -> tuple[str, str]:
    """The event's id inside Ion and, where it is a foreign one, its own."""
    ours = source.startswith("ion:") and not root.foreign
    if ours and not root.id:
        return ids.new_id(), ""
    if ours and ids.is_uuid(root.id):
        return root.id, ""
    origid = root.id or ids.new_id()
    return ids.foreign_event_id(source, origid), origid


def _about(root: RootEvent) -> str:
    if root.files:
        name = root.files[0].name.strip()
        return name if len(name) <= SUBJECT_LIMIT else name.rpartition("/")[2]
    url = root.data.get("url") if isinstance(root.data, dict) else None
    return url if isinstance(url, str) and len(url) <= SUBJECT_LIMIT and is_plain(url) else ""


def _text(what: str, text: str, most: int) -> str:
    """Ids and names stand in headers, listings and terminals: short, no control characters, no blanks at the ends."""
    if len(text) > most or not is_plain(text) or text != text.strip():
        raise InvalidError(
            f"the {what} {text[:40]!r} cannot be used: give at most {most} characters, none of them a control "
            "character, and no blanks at the ends"
        )
    return text


def _distinct(drafts: Sequence[Draft]) -> list[Draft]:
    """The first of each id: one call may name an event twice."""
    return list({draft.job: draft for draft in reversed(drafts)}.values())[::-1]


async def _known(job: str, ledger: Ledger) -> Job | None:
    try:
        return await ledger.get(job)
    except NotFoundError:
        return None


async def _raised(draft: Draft, new: dict[str, Event], ledger: Ledger) -> Raised:
    event = new.pop(draft.job, None)
    if event is not None:
        return Raised(event=event, job=draft.job)
    return Raised(event=(await ledger.get(draft.job)).event, job=draft.job, duplicate=True)


async def _stored(drafts: Sequence[Draft], blobs: Blobs, clock: Callable[[], datetime]) -> Sequence[tuple[Job, Event]]:
    """The jobs to admit, and their events, once all they name is in the store; where that fails, nothing stays."""
    try:
        return await gathered([functools.partial(store, draft, blobs, clock) for draft in drafts])
    except BaseException:
        for draft in drafts:
            await sweep(draft.prefix, blobs)
        raise
