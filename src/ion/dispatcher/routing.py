"""Routes: which provider runs a job, where a module has rules for that. Pure decisions, and the look that applies them.

Each job waits on a route of its module, a short text in its row, and claims are made by route. The empty route is where
jobs are admitted, and where those of a module without rules stay, so that rules cost nothing where there are none. Who
claims for a module with rules looks first at what is due on other routes than its present rules make, and puts it where
it belongs; any dispatcher may, whichever providers it has, and it claims only on the routes of its own. So rules that
are applied anew reach all jobs that have not begun, and nothing is claimed by old ones.

A route is `PROVIDER!PRIORITY@RULES`, where RULES names the module's rules, and `>SECONDS` behind it once the job has
waited for so long it belongs elsewhere. The first claim leaves `PROVIDER!PRIORITY`: a retry keeps its place, as it
keeps its revision.
"""

import asyncio
import functools
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

import msgspec

from ion.errors import InvalidError, NotFoundError
from ion.messaging.filters import compile_filters
from ion.messaging.rules import aim, condition
from ion.model.event import Event
from ion.model.job import Job, State
from ion.model.module import Module, Rule
from ion.ports.ledger import Ledger, Move, Registered

log = logging.getLogger(__name__)

LOOK_MOST = 500
"""How many jobs of a route are looked at in one go: those that would be claimed next."""
READ_MOST = 16
"""So many jobs at once are looked at for which data has to be read from blobs."""
LOOK_AGAIN_S = 5.0
"""After how long at most jobs are looked at again that belong elsewhere once they have waited."""


class Way(NamedTuple):
    """Where a job is to run. `rule` is the number of the rule that says so, from 1 (0: none holds, so the module's own
    provider does); `until_s`: once it has waited for so long another rule will hold (None: never).
    """

    provider: str
    priority: int = 0
    rule: int = 0
    until_s: float | None = None


class _Wanted(NamedTuple):
    """The route where a job belongs, why, and in how many seconds it belongs elsewhere (None: never)."""

    route: str
    why: str
    rest_s: float | None


class Line(NamedTuple):
    """What is claimed together: the routes to one provider with one priority, and the route that a claim leaves."""

    provider: str
    priority: int
    routes: tuple[str, ...]

    @property
    def fixed(self) -> str:
        return "" if self.routes == ("",) else f"{self.provider}!{self.priority}"


def decide(module: Module, event: Event, waited_s: float) -> Way:
    """Where the event's job runs, by the first rule that holds.

    Args:
        module: As it is now.
        event: With its data.
        waited_s: For how long the job has waited since it was queued.
    """
    holding = [(n, rule) for n, rule in enumerate(module.route, 1) if _suits(rule, event)]
    number, rule = _first(holding, waited_s)
    later = sorted({other.waited_s for _, other in holding if other.waited_s > waited_s})
    until_s = next((at_s for at_s in later if _first(holding, at_s)[0] != number), None)
    return Way(rule.provider or module.provider, rule.priority, number, until_s)


def _suits(rule: Rule, event: Event) -> bool:
    """Whether all of it holds that time does not change."""
    size = sum(file.size for file in event.files)
    if size < rule.size_least or (rule.size_most is not None and size > rule.size_most):
        return False
    return _compiled(msgspec.json.encode(rule.filters))(event)


def _first(rules: Iterable[tuple[int, Rule]], waited_s: float) -> tuple[int, Rule]:
    return next(((number, rule) for number, rule in rules if waited_s >= rule.waited_s), (0, Rule()))


@functools.lru_cache(maxsize=1024)
def _compiled(filters: bytes) -> Callable[[Event], bool]:
    compiled: Callable[[Event], bool] = compile_filters(msgspec.json.decode(filters))
    return compiled


def queued_at(job: Job) -> datetime | None:
    """Since when a job waits that was never claimed: its admission, or when a person queued it again.

    A person may also free one that a guard held. Of what changes a job that waits on, only a move says why.
    """
    at, before = job.admitted_at, None
    for change in job.history:
        if change.state is State.WAITING and (before is not State.WAITING or not change.note):
            at = change.at
        before = change.state
    return at


def rules_of(module: Module) -> str:
    """A name of the module's rules, eight hexadecimal digits; empty where it has none."""
    if not module.route:
        return ""
    return hashlib.sha256(msgspec.json.encode((module.provider, module.route))).hexdigest()[:8]


def route_of(way: Way, rules: str) -> str:
    """The route that leads that way."""
    until = "" if way.until_s is None else f">{way.until_s!r}"
    return f"{way.provider}!{way.priority}@{rules}{until}"


def place_of(route: str) -> tuple[str, int]:
    """The provider and the priority of a route; of the empty one, nothing."""
    provider, _, priority = route.partition("@")[0].partition("!")
    return provider, int(priority or 0)


def lines_of(routes: Iterable[str]) -> list[Line]:
    """What is to be claimed one after the other, those of the highest priority first."""
    ordered = sorted(routes, key=lambda route: (-place_of(route)[1], place_of(route)[0], route))
    return [Line(*place, tuple(group)) for place, group in groupby(ordered, key=place_of)]


def _why(module: Module, way: Way) -> str:
    if not way.rule:
        return f"for {way.provider}: no rule of its module holds"
    rule = module.route[way.rule - 1]
    return f"for {aim(rule, module)}: rule {way.rule} ({condition(rule)})"


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _as_it_is(event: Event) -> Event:
    return event


class Routing:
    """Keeps the due jobs of modules on the routes where they belong. `seen` gives an event with its data."""

    def __init__(self, ledger: Ledger, *, owner: str, seen: Callable[[Event], Awaitable[Event]] = _as_it_is) -> None:
        self._ledger, self._owner, self._seen = ledger, owner, seen
        self._rests: dict[tuple[str, str], float] = {}

    async def look(self, registered: Registered) -> tuple[list[Line], float | None]:
        """Puts a module's due jobs where they belong.

        Returns:
            What there may be to claim now, and in how many seconds to look again for the sake of routes (None: no
            sooner than for other things).
        """
        module, rules = registered.module, rules_of(registered.module)
        found = await self._ledger.routes(module.name, module.retries.backoff_most_s)
        self._rests = {key: at_s for key, at_s in self._rests.items() if key[0] != module.name or key[1] in found}
        routes: set[str] = set()
        for route in sorted(found):
            stays = _stays(route, rules) or self._rests.get((module.name, route), 0.0) > _now_s()
            routes |= {route} if stays else await self._move(module, rules, route)
        ends_s = [at_s for (name, _), at_s in self._rests.items() if name == module.name]
        return lines_of(routes), max(0.0, min(ends_s) - _now_s()) if ends_s else None

    async def _move(self, module: Module, rules: str, route: str) -> set[str]:
        """Moves what does not belong on a route. The routes where its first jobs are now."""
        self._rests.pop((module.name, route), None)
        if "@" in route and not await self._is_present(module.name, rules):
            return set()  # somebody has read other rules since, and knows better
        jobs = await self._ledger.on_route(module.name, route, LOOK_MOST, module.retries.backoff_most_s)
        now = await self._ledger.now()
        wanted = await self._belong(module, rules, jobs, now)
        moves = [
            Move(job=job.id, old=route, new=one.route, note=one.why)
            for job, one in zip(jobs, wanted, strict=True)
            if one.route != route
        ]
        moved = await self._ledger.reroute(moves, self._owner) if moves else 0
        if moved and len(jobs) == LOOK_MOST:  # there may be more to move
            self._rest(module.name, route, 0.0)
        for one in wanted:
            if one.rest_s is not None:
                self._rest(module.name, one.route, min(one.rest_s, LOOK_AGAIN_S))
        return {one.route for one in wanted}

    async def _is_present(self, module: str, rules: str) -> bool:
        """Whether the rules are those of the module in the registry now."""
        return any(one.module.name == module and rules_of(one.module) == rules for one in await self._ledger.modules())

    def _rest(self, module: str, route: str, rest_s: float) -> None:
        """What is on a route is looked at again after so long, or sooner."""
        at_s = _now_s() + rest_s
        self._rests[module, route] = min(at_s, self._rests.get((module, route), at_s))

    async def _belong(self, module: Module, rules: str, jobs: Sequence[Job], now: datetime) -> list["_Wanted"]:
        """Where jobs belong, in their order. One whose data cannot be had is told of once all others are answered."""
        wanted: list[_Wanted] = []
        for start in range(0, len(jobs), READ_MOST):
            some = jobs[start : start + READ_MOST]
            looks = [self._belongs(module, rules, job, now) for job in some]
            for found in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                wanted.append(found)
        return wanted

    async def _belongs(self, module: Module, rules: str, job: Job, now: datetime) -> "_Wanted":
        """The route of a job by the module's present rules, and why."""
        if not rules:
            return _Wanted("", "its module has no rules any more", None)
        if job.revision and (begun := await self._begun(job)):
            return begun
        since = queued_at(job)
        waited_s = 0.0 if since is None else max(0.0, (now - since).total_seconds())
        way = decide(module, await self._with_data(module, job.event), waited_s)
        rest_s = None if way.until_s is None else way.until_s - waited_s
        return _Wanted(route_of(way, rules), _why(module, way), rest_s)

    async def _begun(self, job: Job) -> "_Wanted | None":
        """The route of a job that was claimed before: its revision is fixed, and so is its place."""
        if job.route:
            provider, priority = place_of(job.route)
        else:  # its module had no rules then
            try:
                provider, priority = (await self._ledger.revision(job.module, job.revision)).module.provider, 0
            except NotFoundError:
                return None
        return _Wanted(f"{provider}!{priority}", f"for {provider}: it began there", None)

    async def _with_data(self, module: Module, event: Event) -> Event:
        if not event.dataref or not any(rule.filters for rule in module.route):
            return event
        try:
            return await self._seen(event)
        except (InvalidError, NotFoundError) as error:  # its job will say so, wherever it runs
            log.warning("event %s is routed without its data: %s", event.id, error)
            return event


def _stays(route: str, rules: str) -> bool:
    """Whether jobs on a route can be claimed as they are, without a look at any of them."""
    place, at, of = route.partition("@")
    if not rules:
        return not route
    return (bool(place) and not at) or of == rules
