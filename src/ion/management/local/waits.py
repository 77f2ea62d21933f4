"""Why a job waits that could be started: its module is stopped, or nobody serves it where the job is to run."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ion.dispatcher.routing import LOOK_MOST, place_of, queued_at
from ion.management.local.census import living, standing_of
from ion.management.report_text import duration, many
from ion.model.job import Job, State
from ion.ports.ledger import Ledger, Owner, Registered

MEND: Final = "start a dispatcher there (`ion up`), or change the provider or the rules of its module and apply them"


class Stranded(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of a module that are for a provider on which nobody serves it: how many, up to `LOOK_MOST`, and for how long
    the oldest of them has waited, in seconds.
    """

    module: str
    provider: str
    jobs: int
    oldest_s: float

    @property
    def sentence(self) -> str:
        count = f"{many(self.jobs, 'job')} or more" if self.jobs >= LOOK_MOST else many(self.jobs, "job")
        return (
            f"{count} of {self.module} waiting for the provider {self.provider}, where its rules sent them, the oldest "
            f"for {duration(self.oldest_s)}, and no dispatcher there serves it: {MEND}"
        )


async def stranded(
    registered: Registered, dispatchers: Sequence[Owner], ledger: Ledger, now: datetime
) -> AsyncIterator[Stranded]:
    """What of a module with rules waits in vain; two reads by index a provider, however many jobs wait."""
    module = registered.module
    if not module.route:
        return
    most_s = module.retries.backoff_most_s
    places: dict[str, list[str]] = {}
    for route in await ledger.routes(module.name, most_s):
        if route and not _served(module.name, place_of(route)[0], dispatchers):
            places.setdefault(place_of(route)[0], []).append(route)
    for provider, routes in sorted(places.items()):
        jobs = [job for route in routes for job in await ledger.on_route(module.name, route, LOOK_MOST, most_s)]
        if jobs:  # else somebody has come meanwhile
            oldest_s = max(_waited_s(job, now) for job in jobs)
            yield Stranded(module=module.name, provider=provider, jobs=len(jobs), oldest_s=oldest_s)


async def why_it_waits(job: Job, ledger: Ledger) -> str:
    """The sentence for one job; empty where it does not wait, is held or not due yet, or may have its turn soon."""
    if job.state is not State.WAITING or job.hold is not None:
        return ""
    registered = {one.module.name: one for one in await ledger.modules()}.get(job.module)
    if registered is None:
        return f"there is no module {job.module} any more: it is to be a dead letter"
    dispatchers, now = await living(ledger), await ledger.now()
    served = any(job.module in one.modules for one in dispatchers)
    standing, message = standing_of(registered, waits=True, served=served)
    since = f"; it has waited for {duration(_waited_s(job, now))}"
    if standing == "unserved":
        return f"{message}{since}: {MEND}"
    provider = place_of(job.route)[0] if registered.module.route else ""
    if not message and provider and not _served(job.module, provider, dispatchers):
        message = (
            f"it is for the provider {provider}, where the rules of {job.module} sent it, and no dispatcher there "
            f"serves that{since}: {MEND}"
        )
    return message


def _served(module: str, provider: str, dispatchers: Iterable[Owner]) -> bool:
    """Whether a dispatcher runs the module there; one of an older Ion, which does not say where, may."""
    for one in dispatchers:
        of_it = [place for place in one.places if place.startswith(f"{module}@")]
        if f"{module}@{provider}" in of_it or (module in one.modules and not of_it):
            return True
    return False


def _waited_s(job: Job, now: datetime) -> float:
    since = queued_at(job)
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
