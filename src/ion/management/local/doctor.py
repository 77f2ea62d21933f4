"""The doctor: what is amiss with an Ion, each symptom with what to type next.

Ports first, for without them nothing else can be told; then clocks, what waits for whom, what a person has stopped,
what died lately, and room. Beside a call to each port it takes one look at what is alive, whose cost does not grow with
what has ended. A finding that is no more than worth knowing is a warning; where work does not get done, or soon will
not, it is a fault.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from ion.dispatcher.claim import LOW_DISK
from ion.dispatcher.stores import Stores
from ion.errors import IonError, NotFoundError, UnavailableError, UnsupportedError
from ion.management.local.census import take_census
from ion.management.local.complaints import complaints
from ion.management.local.site import Site
from ion.management.local.symptoms import fault, fine, warning
from ion.management.report_text import duration, size
from ion.management.verbs.server import Grade, Symptom
from ion.model.event import utc_now
from ion.model.record import Kind

ANSWER_S: Final = 10.0
SLOW_S: Final = 1.0
CLOCK_WARNING_S: Final = 2.0
CLOCK_FAULT_S: Final = 60.0
ROOM_WARNING: Final = 2 * LOW_DISK
NOTHING: Final = "ion-doctor/1/0/nothing"
"""A blob and a record that are never there: that a store says so is an answer."""


async def examine(site: Site) -> AsyncIterator[Symptom]:
    """Every symptom; what depends on a ledger that does not answer is left out."""
    stores = site.stores
    ledger = await _reach("ledger", lambda: _ask_ledger(stores))
    yield ledger
    yield await _reach("documents", lambda: _ask_documents(stores))
    yield await _reach("bus", lambda: _ask_bus(stores, known=ledger.grade is not Grade.FAULT))
    yield await _reach("blobs", lambda: _ask_blobs(stores))
    if ledger.grade is not Grade.FAULT:
        async for symptom in _alive(site):
            yield symptom
    for symptom in (*room(site.work, shutil.disk_usage), _retention(site)):
        yield symptom


async def _alive(site: Site) -> AsyncIterator[Symptom]:
    stores = site.stores
    try:
        yield await _clocks(stores)
        census = await take_census(stores.ledger)
        if site.control is not None:
            modules = tuple([await site.control.judged(state) for state in census.modules])
            census = msgspec.structs.replace(census, modules=modules)
        async for symptom in complaints(census, stores.ledger):
            yield symptom
    except UnavailableError as error:
        yield fault("ledger", f"the ledger went away meanwhile: {error}", "ion doctor")


# ---- reachability -----------------------------------------------------------------------------------------------


async def _reach(port: str, ask: Callable[[], Awaitable[None]]) -> Symptom:
    """A port's answer to a small call, with its time."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S):
            await ask()
    except TimeoutError:
        return fault(port, f"the {port} did not answer within {ANSWER_S:g} s", "ion doctor")
    except IonError as error:
        return fault(port, f"the {port} cannot be used: {error}", "ion doctor")
    took_s = time.monotonic() - began
    message = f"answered in {took_s * 1000:.1f} ms"
    return warning(port, f"{message}, which is slow", "ion doctor") if took_s > SLOW_S else fine(port, message)


async def _ask_ledger(stores: Stores) -> None:
    await stores.ledger.waiting()


async def _ask_documents(stores: Stores) -> None:
    try:
        await stores.documents.get(Kind.INSIGHT, NOTHING)
    except NotFoundError:
        return


async def _ask_bus(stores: Stores, *, known: bool) -> None:
    """A module's depth where the bus knows depths, else a wish for nothing."""
    bus = stores.bus
    groups = [one.module.group for one in await stores.ledger.modules() if one.module.on] if known else []
    try:
        if groups and bus.guarantees.depths:
            await bus.depth(groups[0])
            return
    except (NotFoundError, UnsupportedError):
        pass
    await bus.ensure([], [])


async def _ask_blobs(stores: Stores) -> None:
    try:
        await stores.blobs.info(NOTHING)
    except NotFoundError:
        return


# ---- clocks and room --------------------------------------------------------------------------------------------


async def _clocks(stores: Stores) -> Symptom:
    before = utc_now()
    theirs = await stores.ledger.now()
    # When between the question and the answer it looked at its clock is not known.
    return compare_clocks(theirs, max(before, min(theirs, utc_now())))


def compare_clocks(theirs: datetime, ours: datetime) -> Symptom:
    """The ledger's clock beside this host's at the same moment."""
    apart_s = (theirs - ours).total_seconds()
    if abs(apart_s) <= CLOCK_WARNING_S:
        return fine("clocks", f"the ledger's and this host's agree to {abs(apart_s):.1f} s")
    ahead = "ahead of" if apart_s > 0 else "behind"
    message = f"the ledger's is {duration(abs(apart_s))} {ahead} this host's: one of the two is not kept by the network"
    return (warning if abs(apart_s) <= CLOCK_FAULT_S else fault)("clocks", message, "timedatectl status")


def room(work: Path | None, usage_of: Callable[[Path], tuple[int, int, int]]) -> Iterator[Symptom]:
    """Free room where attempts run on this host; no job is claimed below `LOW_DISK`."""
    place = next((one for one in (work, *work.parents) if one.exists()), None) if work else None
    if place is None:
        return
    whole, _, left = usage_of(place)
    free = left / whole if whole else 1.0
    message = f"{size(left)} ({free:.0%}) of the store's disk are free"
    if free < LOW_DISK:
        yield fault("disk", f"only {message}: no job is started below {LOW_DISK:.0%}", "ion du")
    elif free < ROOM_WARNING:
        yield warning("disk", f"only {message}: below {LOW_DISK:.0%} no job is started", "ion du")
    else:
        yield fine("disk", message)


def _retention(site: Site) -> Symptom:
    if site.retention.takes:
        return fine("retention", "what is stored is kept for a time only")
    return warning(
        "retention", "everything is kept for ever: set `retention` in ion.yaml, or the disk fills up", "ion du"
    )
