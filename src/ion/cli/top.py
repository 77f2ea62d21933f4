"""`ion top`: modules, dispatchers and failures at a glance, on a terminal again and again.

Each look is made when the one before has been shown for a while: never two at once, however slow they are.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import click

from ion.cli.context import example, manage
from ion.cli.top_view import Live, Pages, show_plain
from ion.cli.when import lasting
from ion.errors import InvalidError, UnavailableError
from ion.management.flows import FlowState
from ion.management.verbs import Management
from ion.management.verbs.server import COUNTED_MOST, Overview
from ion.model.job import Job, State
from ion.ports.ledger import JobFilter, Owner

INTERVAL_LEAST_S = 0.2
FLOWS_LOOKED_AT = 50
FAILURES_LOOKED_AT = 20


@click.command(epilog=example("ion top", "ion top --once", "ion top --interval 5s --endpoint ion.acme:9000"))
@click.option("--interval", default="1s", show_default=True, metavar="DURATION", help="Between two looks.")
@click.option("--once", is_flag=True, help="One look, as plain tables; so it is also where there is no terminal.")
def top(interval: str, *, once: bool) -> None:
    """Watch modules, dispatchers, how fast jobs end, and the newest failures; q or Ctrl-C ends it.

    The rate is that of jobs which ended in the newest flows, over the last ten looks.
    """
    interval_s = lasting("--interval", interval)
    if interval_s < INTERVAL_LEAST_S:
        raise InvalidError(f"--interval must be at least {INTERVAL_LEAST_S:g} s, not {interval}")
    live = not once and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
    manage(lambda ion: _watch(ion, interval_s) if live else _once(ion))


async def _once(ion: Management) -> None:
    show_plain(await Looks(ion).page())


async def _watch(ion: Management, interval_s: float) -> None:
    """Looks and draws until somebody ends it. What does not answer is told, and asked again."""
    looks, ended = Looks(ion), asyncio.Event()
    first = await looks.page()  # an Ion that cannot be had at all ends it here, with a sentence
    with Live() as live:
        async with _endings(ended):
            live.draw(first)
            while not await _within(ended, interval_s):
                look = asyncio.ensure_future(looks.page())
                if not await _made(look, ended):
                    break
                try:
                    live.draw(look.result())
                except UnavailableError as error:
                    live.complain(str(error))


async def _within(ended: asyncio.Event, interval_s: float) -> bool:
    """Whether somebody ends it before the next look is due."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), interval_s)
    return ended.is_set()


async def _made(look: "asyncio.Future[Pages]", ended: asyncio.Event) -> bool:
    """Waits for a look, until it is no longer wanted."""
    over = asyncio.ensure_future(ended.wait())
    waited: set[asyncio.Future[Any]] = {look, over}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    if look.done():
        return True
    look.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await look
    return False


class Looks:
    """Makes one look after another, and remembers what a rate needs."""

    def __init__(self, ion: Management) -> None:
        self._ion = ion
        self._rate, self._beats = Rate(), Beats()
        self._failures: tuple[Job, ...] = ()
        self._dead: int | None = None

    async def page(self) -> Pages:
        overview = await self._ion.server.overview()
        self._rate.add(time.monotonic(), await self._ion.flows.list(most=FLOWS_LOOKED_AT))
        return Pages(
            overview=overview,
            per_s=self._rate.per_s,
            failures=await self._newest(overview),
            silent_s=self._beats.still_s(time.monotonic(), overview.dispatchers),
        )

    async def _newest(self, overview: Overview) -> tuple[Job, ...] | None:
        """The newest failures, asked for when there are others; None where there are too many to look through."""
        if overview.dead >= COUNTED_MOST:
            return None
        if overview.dead != self._dead:
            which = JobFilter(states=(State.DEAD,))
            latest = await self._ion.jobs.latest(which=which, most=FAILURES_LOOKED_AT)
            self._failures = tuple(sorted(latest.jobs, key=lambda job: job.ended_at or overview.now, reverse=True))
            self._dead = overview.dead
        return self._failures


class Rate:
    """How many jobs end a second, from how many had ended in each flow at each of the last looks."""

    KEPT = 10

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._looks: list[tuple[float, int]] = []

    def add(self, now_s: float, flows: tuple[FlowState, ...]) -> None:
        """A look, at a time of a clock that nobody sets."""
        ended = {one.flow.correlation_id: sum(one.states.values()) - one.open for one in flows}
        # A flow that was not among the newest began since; before the first look nothing is known.
        new = sum(max(0, count - self._known.get(flow, 0)) for flow, count in ended.items()) if self._looks else 0
        self._known = ended
        self._looks = [*self._looks[-self.KEPT :], (now_s, new)]

    @property
    def per_s(self) -> float | None:
        """None before the second look."""
        lasted_s = self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0
        return sum(new for _, new in self._looks[1:]) / lasted_s if lasted_s > 0 else None


class Beats:
    """For how long the beats of dispatchers have stood still, as far as was looked."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def still_s(self, now_s: float, dispatchers: Sequence[Owner]) -> dict[str, float]:
        before, self._seen = self._seen, {}
        for one in dispatchers:
            beat, since_s = before.get(one.id, (one.beat, now_s))
            self._seen[one.id] = (one.beat, since_s if beat == one.beat else now_s)
        return {key: now_s - since_s for key, (_, since_s) in self._seen.items()}


# ---- endings ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _endings(ended: asyncio.Event) -> AsyncIterator[None]:
    """Ctrl-C, and q where somebody types."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, ended.set)
    try:
        with _keys(ended):
            yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def typed() -> None:
        keys = os.read(keyboard, 64)
        if not keys or b"q" in keys.lower():
            ended.set()

    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, typed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
