"""Claims: due jobs become running attempts, as far as there is room for them (R6: claim only what has a slot).

One round looks at every module that has due jobs, asks how many may run (its share of the concurrency, the room of the
place, the breaker), claims so many at once and submits them. Then it waits for news, for an attempt to end, or until
the next job is due. Where only an attempt has ended, what waited still does: that is not asked again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from ion.dispatcher.breaker import allowance
from ion.dispatcher.routing import Line, Routing
from ion.dispatcher.slots import Slots, share_of
from ion.errors import IonError, UnavailableError, UnsupportedError
from ion.messaging.concerning import concerning
from ion.model.job import Failure, FailureClass, Job
from ion.model.module import Module, Revision
from ion.ports.executor import Assignment, Executor, Handle, Phase, Status
from ion.ports.ledger import Claim, Ledger, Owner, Registered

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 10.0
LOW_DISK = 0.05
COMMIT_SLACK_S = 600.0
"""What a deadline in the ledger leaves for prepare and commit: it is the backstop of the executor's own time-out."""


class Running:
    """The attempts that this dispatcher has submitted and not yet finished, and since when by its `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.jobs: dict[tuple[str, int], tuple[Job, str]] = {}
        self._since: dict[tuple[str, int], float] = {}
        self.submitting: set[tuple[str, int]] = set()
        """Those that their executor need not know of yet."""
        self.freed = asyncio.Event()

    def add(self, job: Job, provider: str, *, elapsed_s: float = 0.0) -> None:
        self.jobs[job.id, job.attempt] = (job, provider)
        self._since[job.id, job.attempt] = self.clock() - elapsed_s

    def drop(self, handle: Handle) -> None:
        self.jobs.pop((handle.job, handle.attempt), None)
        self._since.pop((handle.job, handle.attempt), None)

    def elapsed_s(self, job: Job) -> float | None:
        """How long the attempt has gone on; None if it is not among them."""
        since_s = self._since.get((job.id, job.attempt))
        return None if since_s is None else self.clock() - since_s

    def count(self, module: str) -> int:
        return sum(1 for job, _ in self.jobs.values() if job.module == module)


class Claims:
    """Claims for one dispatcher, for every executor it has.

    Nothing is claimed in a scope that the ledger does not say yet that this dispatcher `attends`: if it died then,
    whoever takes over could not know where its jobs run, and would call them lost.
    """

    def __init__(
        self,
        ledger: Ledger,
        executors: Mapping[str, Executor],
        running: Running,
        slots: Mapping[str, Slots],
        *,
        owner: str,
        spare: Callable[[], float],
        started: Callable[[Job], None],
        failed: Callable[[Status, Executor], None],
        routing: Routing | None = None,
        attends: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._ledger, self._executors, self._running, self._slots = ledger, executors, running, slots
        self._owner, self._spare, self._started, self._failed = owner, spare, started, failed
        self._routing, self._attends = routing or Routing(ledger, owner=owner), attends
        self._registered: Sequence[Registered] = ()
        self._owners: Sequence[Owner] = ()
        self._said: dict[str, str] = {}
        self._turn = 0
        self._waiting: dict[str, float | None] = {}
        self._looked_at_s = 0.0
        self._fresh = False
        self.tripped = False
        """Whether the last round met an open breaker: what it looks at changes with time, so it is to be read again."""
        self.short = False
        """Whether a claim got less than there was room for: a commit may make more due."""

    @property
    def some_wait(self) -> bool:
        """Whether jobs waited at the last look, so that the end of an attempt may begin another."""
        return bool(self._waiting)

    def know(self, registered: Sequence[Registered], owners: Sequence[Owner]) -> None:
        """The modules to serve, and the dispatchers that share their concurrency."""
        self._registered, self._owners = registered, owners

    async def claim_of(self, modules: Collection[str]) -> None:
        """Claims of these modules, of which something has become due just now."""
        if not self._low_on_disk():
            for registered in self._in_turn():
                if registered.module.name in modules:
                    await self._claim(registered)

    async def round(self, *, fresh: bool = True) -> float:
        """Claims once around. Returns in how many seconds to look again, with a `fresh` look, if nothing else happens.

        Without `fresh`, only attempts have ended since the last round.
        """
        now_s = asyncio.get_running_loop().time()
        self._fresh = fresh
        if fresh:
            self._waiting, self._looked_at_s = await self._ledger.waiting(), now_s
        if not self._waiting or self._low_on_disk():
            return LOOK_AGAIN_S
        again_s, passed_s = LOOK_AGAIN_S, now_s - self._looked_at_s
        self.tripped = self.short = False
        self._say_unserved()
        for registered in self._in_turn():
            due_s = self._waiting.get(registered.module.name)
            if due_s is None:
                continue
            if due_s > registered.module.retries.backoff_most_s:  # the clock was set back; the claim knows what to do
                due_s = 0.0
            again_s = min(again_s, max(0.0, due_s - passed_s) if due_s > 0 else await self._claim(registered))
        return again_s

    def _in_turn(self) -> list[Registered]:
        """Each round begins with another module, so that a busy one does not keep the others from the machine."""
        serves = [r for r in self._registered if not r.paused and self._serves(r.module)]
        self._turn += 1
        at = self._turn % len(serves) if serves else 0
        return sorted([*serves[at:], *serves[:at]], key=lambda r: -r.module.priority)

    def _serves(self, module: Module) -> bool:
        """Whether any of its jobs may run here; with rules they may have to be routed, wherever they run then."""
        return bool(module.route) or module.provider in self._executors

    async def follow(self) -> None:
        """Takes what waits off the routes of modules that have no rules any more."""
        for registered in self._registered:
            if not registered.module.route and registered.module.name in self._waiting:
                while (await self._routing.look(registered))[1] == 0.0:
                    pass

    async def _claim(self, registered: Registered) -> float:
        module = registered.module
        if not module.route:
            return await self._claim_line(registered, Line(module.provider, 0, ("",)))
        lines, again_s = await self._routing.look(registered)
        self._say_away(module, {line.provider for line in lines})
        agains = [await self._claim_line(registered, line) for line in lines if line.provider in self._executors]
        return min([LOOK_AGAIN_S if again_s is None else again_s, *agains])

    async def _claim_line(self, registered: Registered, line: Line) -> float:
        module, executor = registered.module, self._executors[line.provider]
        possible = self._possible(registered.revision, executor, line.provider)
        if not possible or not self._attends(executor.guarantees.scope):
            return LOOK_AGAIN_S
        allowed = allowance(registered.health, module.pause_after)
        self.tripped = self.tripped or not allowed.closed
        self._say(f"breaker {module.name}", _breaker_text(registered, closed=allowed.closed))
        room = self._room(module, line.provider)
        if room <= 0 or allowed.most == 0:
            return allowed.again_s or LOOK_AGAIN_S
        request = self._request(registered.revision, executor, line, room, allowed.most)
        jobs = await self._ledger.claim(request)
        for job in jobs:
            self._running.submitting.add((job.id, job.attempt))
            self._running.add(job, line.provider)
            self._slots[line.provider].take(job.id, job.attempt, module.resources)
        for job in jobs:
            with concerning(job):
                await self._submit(job, executor, registered.revision, line.provider)
        self.short = self.short or len(jobs) < request.most
        if len(jobs) == request.most or (not jobs and self._fresh):
            return LOOK_AGAIN_S
        return 0.0  # some were due, and that was all: a look tells when the rest is

    def _room(self, module: Module, provider: str) -> int:
        # With rules, who serves the module need not have work of it: the claim alone bounds them then, all together.
        sharers = [] if module.route else [o.id for o in self._owners if module.name in o.modules]
        share = share_of(module.concurrency, sharers, self._owner, module.name) - self._running.count(module.name)
        return self._slots[provider].fits(module.resources, max(0, share))

    def _request(self, revision: Revision, executor: Executor, line: Line, room: int, most: int | None) -> Claim:
        module = revision.module
        return Claim(
            module=module.name,
            most=room if most is None else min(room, most),
            owner=self._owner,
            scope=executor.guarantees.scope,
            revision=revision.id,
            deadline_s=module.start_timeout_s + module.timeout_s + module.grace_s + COMMIT_SLACK_S,
            # Counted over all owners: after a change of membership older jobs run beyond their owners' shares.
            module_most=module.concurrency if most is None else min(most, module.concurrency),
            delay_most_s=module.retries.backoff_most_s,
            gpus_each=module.resources.gpu,
            devices=executor.devices,
            routes=line.routes,
            route=line.fixed,
        )

    async def _submit(self, job: Job, executor: Executor, present: Revision, place: str) -> None:
        try:
            revision = await self._ledger.revision(job.module, job.revision)
            if revision.id != present.id and (unfit := _unfit(revision, executor, place)):
                self._fail(job, executor, Failure(kind=FailureClass.CONTRACT, message=unfit))
                return
            await executor.submit(Assignment(job=job, revision=revision))
            self._started(job)
        except IonError as error:
            failure = Failure(kind=FailureClass.INFRASTRUCTURE, message=f"the attempt could not be started: {error}")
            self._fail(job, executor, failure)
        finally:
            self._running.submitting.discard((job.id, job.attempt))

    def _fail(self, job: Job, executor: Executor, failure: Failure) -> None:
        handle = Handle(scope=executor.guarantees.scope, job=job.id, attempt=job.attempt)
        self._failed(Status(handle=handle, phase=Phase.FAILED, failure=failure), executor)

    def _possible(self, revision: Revision, executor: Executor, place: str) -> bool:
        try:
            executor.check(revision)
        except (UnsupportedError, UnavailableError) as error:
            self._say(f"check {revision.module.name} {place}", f"module {revision.module.name} is held: {error}")
            return False
        self._say(f"check {revision.module.name} {place}", "")
        return True

    def _say_unserved(self) -> None:
        """Jobs wait that no executor here can run: perhaps another dispatcher does, and perhaps none."""
        for registered in self._registered:
            module = registered.module
            if not module.route:
                self._say_away(module, {module.provider} if module.name in self._waiting else set())

    def _say_away(self, module: Module, providers: Collection[str]) -> None:
        away = "', '".join(sorted(set(providers) - self._executors.keys()))
        have = ", ".join(self._executors) or "none"
        what = (
            f"jobs of module {module.name} are left to others: they are"
            if module.route
            else (f"module {module.name} is held: it is")
        )
        self._say(f"provider {module.name}", f"{what} for the provider '{away}', and here is {have}" if away else "")

    def _low_on_disk(self) -> bool:
        spare = self._spare()
        low = spare < LOW_DISK
        self._say(
            "disk", f"only {spare:.1%} of the disk is free; no job is started below {LOW_DISK:.0%}" if low else ""
        )
        return low

    def _say(self, about: str, text: str) -> None:
        """Logs a condition once when it begins, not at every look."""
        if text and self._said.get(about) != text:
            log.warning("%s", text)
        self._said[about] = text


def _unfit(revision: Revision, executor: Executor, place: str) -> str:
    """Why what a job began with can never run where its module runs by now; empty if it can."""
    try:
        executor.check(revision)
    except UnsupportedError as error:
        return (
            f"it began with the revision {revision.id}, which {place} cannot run, where its module runs now: {error}; "
            "queue it again by hand to run the present one"
        )
    except UnavailableError:  # submitting tells
        pass
    return ""


def _breaker_text(registered: Registered, *, closed: bool) -> str:
    if closed:
        return ""
    health, name = registered.health, registered.module.name
    dead = health.dead_in_row >= registered.module.pause_after > 0
    why = f"{health.dead_in_row} dead jobs in a row" if dead else "repeated infrastructure failures"
    return f"module {name} is paused after {why}; one job at a time is tried"
