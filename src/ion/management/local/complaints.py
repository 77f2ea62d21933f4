"""What of everything alive a person should know, and what to type next; see `doctor`.

Most are read off a census. Held jobs and dead letters are looked at one by one, up to `COUNTED_MOST` of each.
"""

import shlex
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Final

from ion.management.local.census import Census, first_jobs
from ion.management.local.symptoms import fault, fine, warning
from ion.management.local.waits import MEND, stranded
from ion.management.report_text import duration, many
from ion.management.verbs.modules import ModuleState
from ion.management.verbs.server import COUNTED_MOST, Symptom
from ion.model.job import Hold, Job, State
from ion.ports.ledger import JobFilter, Ledger

WAITS_LONG_S: Final = 900.0
UNRELEASED_WARNING_S: Final = 60.0
UNRELEASED_FAULT_S: Final = 600.0
LATELY: Final = timedelta(days=1)
FLOWS_SHOWN: Final = 10


async def complaints(census: Census, ledger: Ledger) -> AsyncIterator[Symptom]:
    for check in (_dispatchers, _modules, _waiting, _unreleased):
        for symptom in check(census):
            yield symptom
        if check is _modules:
            async for symptom in _places(census, ledger):
                yield symptom
    async for symptom in _holds(ledger):
        yield symptom
    async for symptom in _letters(census, ledger):
        yield symptom


def _dispatchers(census: Census) -> Iterator[Symptom]:
    if census.dispatchers:
        yield fine("dispatchers", f"{many(len(census.dispatchers), 'dispatcher')} at work")
    elif census.open:
        yield fault("dispatchers", f"{_jobs(census.open)} open, and no dispatcher is at work", "ion up ion.yaml")
    else:
        yield fine("dispatchers", "no dispatcher is at work, and no job is open")


def _modules(census: Census) -> Iterator[Symptom]:
    """Those that are stopped. That nobody serves any module is told already where no dispatcher is at work."""
    fares_well = True
    for state in census.modules:
        name = state.registered.module.name
        waiting = state.jobs.get(State.WAITING, 0)
        waits = f"; {_jobs(waiting)} waiting" if waiting else ""
        match state.standing:
            case "paused":
                yield warning("modules", state.message + waits, f"ion module resume -n {name}")
            case "tripped":
                yield fault("modules", state.message + waits, f"ion dlq list --module {name}")
            case "unserved" if census.dispatchers:
                oldest = f", the oldest for {duration(state.oldest_s)}" if waits else ""
                yield fault("modules", f"{state.message}{waits}{oldest}: {MEND}", f"ion module describe -n {name}")
            case "failed":
                message = f"the dispatchers of {name} cannot be started: {state.message}"
                yield fault("modules", message + waits, f"ion module get -n {name}")
            case "unknown":
                yield warning(
                    "modules", f"of the dispatchers of {name} nothing is known: {state.message}", "ion doctor"
                )
            case _:
                continue
        fares_well = False
    if fares_well:
        yield fine("modules", f"{many(len(census.modules), 'module')}, none of which is stopped")


async def _places(census: Census, ledger: Ledger) -> AsyncIterator[Symptom]:
    """Jobs that the rules of a module sent where nobody serves it; what else there is of it goes on."""
    for state in census.modules:
        if state.standing == "ready" and state.jobs.get(State.WAITING):
            name = state.registered.module.name
            async for one in stranded(state.registered, census.dispatchers, ledger, census.now):
                yield fault("places", one.sentence, f"ion module describe -n {name}")


def _waiting(census: Census) -> Iterator[Symptom]:
    """Jobs that wait long although their module goes on."""
    waits = sorted(filter(_waits_long, census.modules), key=lambda state: -(state.oldest_s or 0.0))
    for state in waits:
        name = state.registered.module.name
        waiting = _jobs(state.jobs.get(State.WAITING, 0))
        command = f"ion job list --module {name} --state waiting"
        yield warning("waiting", f"{waiting} of {name} waiting, the oldest for {duration(state.oldest_s)}", command)
    if not waits:
        waiting = _jobs(census.total(State.WAITING))
        yield fine("waiting", f"{waiting} waiting, none of them for long where its module goes on")


def _waits_long(state: ModuleState) -> bool:
    return state.standing == "ready" and state.oldest_s is not None and state.oldest_s > WAITS_LONG_S


def _unreleased(census: Census) -> Iterator[Symptom]:
    count, age_s = len(census.committed), census.oldest_committed_s
    if age_s is None or age_s <= UNRELEASED_WARNING_S:
        yield fine("unreleased", f"{_jobs(count)} on the way to being released")
        return
    message = f"the events of {_jobs(count)} are not released, the oldest for {duration(age_s)}"
    command = f"ion job show {census.committed[0].id}" if census.dispatchers else "ion up ion.yaml"
    yield (fault if age_s > UNRELEASED_FAULT_S else warning)("unreleased", message, command)


async def _holds(ledger: Ledger) -> AsyncIterator[Symptom]:
    """Waiting jobs that are not started before a person says so, by what holds them."""
    flows: Counter[str] = Counter()
    guarded: dict[Hold, list[str]] = {}
    async for job in first_jobs(ledger, JobFilter(states=(State.WAITING,))):
        if job.hold is Hold.FLOW:
            flows[job.correlation_id] += 1
        elif job.hold is not None:
            guarded.setdefault(job.hold, []).append(job.id)
    for flow, count in flows.most_common(FLOWS_SHOWN):
        command = f"ion flow resume {shlex.quote(flow)}"  # its id is whatever a client chose
        yield warning("flows", f"flow {flow} is paused with {_jobs(count)} waiting", command)
    if (more := len(flows) - FLOWS_SHOWN) > 0:
        yield warning("flows", f"{many(more, 'more flow')} paused with jobs waiting", "ion flow list")
    for hold, jobs in guarded.items():
        message = (
            f"{_jobs(len(jobs))} held by the guard max_{hold}: see whether a flow runs in a circle, then free them"
        )
        yield warning("holds", message, f"ion job retry {jobs[0]}")


async def _letters(census: Census, ledger: Ledger) -> AsyncIterator[Symptom]:
    """Dead letters of the last day; where there are too many to look at, that is what is told."""
    lately: Counter[str] = Counter()
    seen = 0
    async for job in first_jobs(ledger, JobFilter(states=(State.DEAD,))):
        seen += 1
        lately[job.module] += _died_after(job, census)
    for module, count in (+lately).most_common():
        command = f"ion dlq list --module {module} --since 1d"
        yield warning("dead letters", f"{_jobs(count)} of {module} died within the last day", command)
    if seen >= COUNTED_MOST:
        yield warning(
            "dead letters", f"{_jobs(seen)} dead, and only the first were looked at", "ion dlq list --since 1d"
        )
    elif not +lately:
        yield fine("dead letters", f"{_jobs(seen)} dead, none within the last day")


def _died_after(job: Job, census: Census) -> bool:
    return job.ended_at is not None and census.now - job.ended_at < LATELY


def _jobs(count: int) -> str:
    return f"{many(count, 'job')} or more" if count >= COUNTED_MOST else many(count, "job")
