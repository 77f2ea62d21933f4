"""The doctor: what is amiss with an Ion, each symptom with what to type next.

Ports first, for without them nothing else can be told; then clocks, what waits for whom, what a person has stopped,
what died lately, and room. Beside the calls to the ports it takes one look at what is alive (`census`), whose cost does
not grow with what has ended. A finding that is no more than worth knowing is a warning; where work does not get done,
or soon will not, it is a fault.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import Final

from ion.dispatcher.claim import LOW_DISK
from ion.dispatcher.service import Stores
from ion.errors import IonError, NotFoundError, UnavailableError, UnsupportedError
from ion.management.local.census import Census, take_census
from ion.management.local.site import Site
from ion.management.report_text import duration, many, size
from ion.management.verbs.server import COUNTED_MOST, Grade, Symptom
from ion.model.event import utc_now
from ion.model.job import Hold, State
from ion.model.record import Kind

ANSWER_S: Final = 10.0
SLOW_S: Final = 1.0
CLOCK_WARNING_S: Final = 2.0
CLOCK_FAULT_S: Final = 60.0
WAITS_LONG_S: Final = 900.0
UNRELEASED_WARNING_S: Final = 60.0
UNRELEASED_FAULT_S: Final = 600.0
ROOM_WARNING: Final = 2 * LOW_DISK
NOTHING: Final = "ion-doctor/1/0/nothing"


async def examine(site: Site) -> AsyncIterator[Symptom]:
    """Every symptom; what depends on a ledger that does not answer is left out."""
    stores = site.stores
    ledger = await _reach("ledger", lambda: _ask_ledger(stores))
    yield ledger
    yield await _reach("documents", lambda: _ask_documents(stores))
    if ledger.grade is not Grade.FAULT:
        yield await _reach("bus", lambda: _ask_bus(stores))
    yield await _reach("blobs", lambda: _ask_blobs(stores))
    if ledger.grade is not Grade.FAULT:
        async for symptom in _standing(stores):
            yield symptom
    for symptom in (*_room(site), *_retention(site)):
        yield symptom


async def _standing(stores: Stores) -> AsyncIterator[Symptom]:
    try:
        yield await _clocks(stores)
        census = await take_census(stores.ledger)
    except UnavailableError as error:
        yield _fault("ledger", str(error), "ion doctor")
        return
    for check in (_dispatchers, _modules, _waiting, _unreleased, _flows, _guards, _letters):
        for symptom in check(census):
            yield symptom


# ---- reachability -----------------------------------------------------------------------------------------------


async def _reach(port: str, ask: Callable[[], Awaitable[None]]) -> Symptom:
    """A port's answer to a small call, with its time."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S):
            await ask()
    except TimeoutError:
        return _fault(port, f"the {port} has not answered for {ANSWER_S:g} s: see whether it is overloaded or away")
    except IonError as error:
        return _fault(port, f"the {port} cannot be used: {error}")
    took_s = time.monotonic() - began
    message = f"the {port} answered in {took_s * 1000:.1f} ms"
    return _warning(port, f"{message}, which is slow") if took_s > SLOW_S else _fine(port, message)


async def _ask_ledger(stores: Stores) -> None:
    await stores.ledger.waiting()


async def _ask_documents(stores: Stores) -> None:
    try:
        await stores.documents.get(Kind.INSIGHT, NOTHING)
    except NotFoundError:
        return


async def _ask_bus(stores: Stores) -> None:
    """A module's depth where the bus knows depths, else a wish that is granted already."""
    groups = [one.module.group for one in await stores.ledger.modules() if one.module.on]
    try:
        if groups and stores.bus.guarantees.depths:
            await stores.bus.depth(groups[0])
        else:
            await stores.bus.ensure([], [])
    except (NotFoundError, UnsupportedError):
        await stores.bus.ensure([], [])


async def _ask_blobs(stores: Stores) -> None:
    try:
        await stores.blobs.info(NOTHING)
    except NotFoundError:
        return


async def _clocks(stores: Stores) -> Symptom:
    before = utc_now()
    theirs = await stores.ledger.now()
    return compare_clocks(theirs, before + (utc_now() - before) / 2)


def compare_clocks(theirs: datetime, ours: datetime) -> Symptom:
    """The ledger's clock beside this host's at the same moment."""
    apart_s = (theirs - ours).total_seconds()
    if abs(apart_s) <= CLOCK_WARNING_S:
        return _fine("clocks", f"the ledger's clock and this host's agree to {abs(apart_s):.1f} s")
    ahead = "ahead of" if apart_s > 0 else "behind"
    message = f"the ledger's clock is {duration(abs(apart_s))} {ahead} this host's: one of them is not set by the net"
    return (_warning if abs(apart_s) <= CLOCK_FAULT_S else _fault)("clocks", message, "timedatectl status")


# ---- what is alive ----------------------------------------------------------------------------------------------


def _dispatchers(census: Census) -> Iterator[Symptom]:
    if census.dispatchers:
        yield _fine("dispatchers", f"{many(len(census.dispatchers), 'dispatcher')} at work")
    elif census.open:
        yield _fault("dispatchers", f"{_jobs(census.open)} open, and no dispatcher is at work", "ion up ion.yaml")
    else:
        yield _fine("dispatchers", "no dispatcher is at work, and no job is open")


def _modules(census: Census) -> Iterator[Symptom]:
    """Those that are stopped. That nobody serves any module is told already where no dispatcher is at work."""
    for registered in census.modules:
        state, name = census.state_of(registered), registered.module.name
        waiting = census.counts[name, State.WAITING]
        waits = f"; {_jobs(waiting)} waiting" if waiting else ""
        match state.standing:
            case "paused":
                yield _warning("modules", state.message + waits, f"ion module resume -n {name}")
            case "tripped":
                yield _fault("modules", state.message + waits, f"ion dlq list --module {name}")
            case "unserved" if census.dispatchers:
                yield _fault("modules", state.message + waits, f"ion module get -n {name}")


def _waiting(census: Census) -> Iterator[Symptom]:
    """Jobs that wait long although they are neither held nor their module stopped."""
    long = [
        (age_s, registered.module.name)
        for registered in census.modules
        if (age_s := census.state_of(registered).oldest_s) is not None
        and age_s > WAITS_LONG_S
        and census.state_of(registered).standing == "ready"
        and census.held_modules[registered.module.name] < census.counts[registered.module.name, State.WAITING]
    ]
    for age_s, name in sorted(long, reverse=True):
        waiting = _jobs(census.counts[name, State.WAITING])
        command = f"ion job list --module {name} --state waiting"
        yield _warning("waiting", f"{waiting} of {name} waiting, the oldest for {duration(age_s)}", command)
    if not long:
        yield _fine("waiting", f"{_jobs(census.totals[State.WAITING])} waiting, none for long that could be started")


def _unreleased(census: Census) -> Iterator[Symptom]:
    count, oldest = census.totals[State.COMMITTED], census.committed
    age_s = census.age_s(oldest.at) if oldest else None
    if oldest is None or age_s is None or age_s <= UNRELEASED_WARNING_S:
        yield _fine("unreleased", f"{_jobs(count)} committed and on the way to being released")
        return
    message = f"events of {_jobs(count)} not released though decided, the oldest for {duration(age_s)}"
    grade = _fault if age_s > UNRELEASED_FAULT_S else _warning
    yield grade("unreleased", message, f"ion job show {oldest.job}" if census.dispatchers else "ion up ion.yaml")


def _flows(census: Census) -> Iterator[Symptom]:
    for flow, count in census.paused_flows.most_common():
        yield _warning("flows", f"flow {flow} is paused with {_jobs(count)} waiting", f"ion flow resume {flow}")


def _guards(census: Census) -> Iterator[Symptom]:
    for hold, guard in ((Hold.HOPS, "max_hops"), (Hold.JOBS, "max_jobs")):
        if count := census.held[hold]:
            message = f"{_jobs(count)} held by the guard {guard}: see whether the flow runs in a circle, then free them"
            yield _warning("holds", message, f"ion job retry {census.held_jobs[hold]}")


def _letters(census: Census) -> Iterator[Symptom]:
    for module, count in census.dead_lately.most_common():
        message = f"{_jobs(count)} of {module} died within the last day"
        yield _warning("dead letters", message, f"ion dlq list --module {module} --since 1d")
    if not census.dead_lately:
        dead = census.totals[State.DEAD]
        counted = (
            f"{_jobs(dead)} dead" if dead < COUNTED_MOST else f"{_jobs(dead)} dead, of which the first were looked at"
        )
        yield _fine("dead letters", f"{counted}, none within the last day")


# ---- room -------------------------------------------------------------------------------------------------------


def _room(site: Site) -> Iterator[Symptom]:
    """Where attempts run on this host; claims stop below `LOW_DISK`."""
    place = next((p for p in (site.work, *site.work.parents) if p.exists()), None) if site.work else None
    if place is None:
        return
    usage = shutil.disk_usage(place)
    free = usage.free / usage.total
    message = f"{size(usage.free)} ({free:.0%}) of the store's disk free"
    if free < LOW_DISK:
        yield _fault("disk", f"only {message}: no job is started below {LOW_DISK:.0%}", "ion du")
    elif free < ROOM_WARNING:
        yield _warning("disk", f"only {message}", "ion du")
    else:
        yield _fine("disk", message)


def _retention(site: Site) -> Iterator[Symptom]:
    if site.retention.takes:
        yield _fine("retention", "what is stored is kept for a time only")
    else:
        message = "everything is kept for ever: set `retention` in ion.yaml if the disk is not to fill up"
        yield _warning("retention", message, "ion du")


def _jobs(count: int) -> str:
    return f"{many(count, 'job')} or more" if count >= COUNTED_MOST else many(count, "job")


def _fine(about: str, message: str) -> Symptom:
    return Symptom(about=about, grade=Grade.FINE, message=message)


def _warning(about: str, message: str, command: str = "") -> Symptom:
    return Symptom(about=about, grade=Grade.WARNING, message=message, command=command)


def _fault(about: str, message: str, command: str = "") -> Symptom:
    return Symptom(about=about, grade=Grade.FAULT, message=message, command=command)
