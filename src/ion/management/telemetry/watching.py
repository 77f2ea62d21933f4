"""Hears what a dispatcher does and makes lives of it, off the jobs' way.

What the dispatcher tells is only put down, with the time. A few times a second it is worked up, a few attempts at a
time, so that no job waits for it.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ion.dispatcher.finish import Progress, Step
from ion.management.telemetry.lives import UNSEEN, Life, Seen, failed_life, released_life
from ion.model.job import Job

log = logging.getLogger(__name__)

LOOK_S = 0.2
AT_ONCE = 8
"""Attempts that are worked up before the loop may do something else."""
COMMITTED_MOST = 10_000
"""Of so many attempts it is remembered how they were committed, until they are released."""
PENDING_MOST = 100_000

Listener = Callable[[Life], None]


class Watching:
    """Tells its listeners of each attempt's life, once it is over. Opened by `async with`."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._pending: deque[tuple[float, Progress | Job]] = deque(maxlen=PENDING_MOST)
        self._committed: OrderedDict[tuple[str, int], Seen] = OrderedDict()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def observe(self, progress: Progress) -> None:
        """See `Dispatcher`."""
        if progress.step is not Step.STARTED:
            self._put_down(progress)

    def released(self, job: Job) -> None:
        """See `Dispatcher`."""
        self._put_down(job)

    def _put_down(self, what: Progress | Job) -> None:
        self._pending.append((time.time(), what))
        self._some.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="watch lives")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.work_up(len(self._pending))

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(LOOK_S)
            self._some.clear()
            while self._pending:
                self.work_up(AT_ONCE)
                await asyncio.sleep(0)

    def work_up(self, most: int) -> None:
        """What was put down first."""
        for _ in range(min(most, len(self._pending))):
            at_s, what = self._pending.popleft()
            try:
                self._tell(self._lives(at_s, what))
            except Exception:  # a fault here must not end a dispatcher, and is not to be overlooked either
                log.exception("an attempt could not be told of")

    def _tell(self, lives: Sequence[Life]) -> None:
        for life in lives:
            for listener in self._listeners:
                listener(life)

    def _lives(self, at_s: float, what: Progress | Job) -> Sequence[Life]:
        """Of what is over now; nothing of what was only committed."""
        if isinstance(what, Job):
            return [released_life(what, self._committed.pop((what.id, what.attempt), UNSEEN), at_s)]
        if what.step is not Step.COMMITTED:
            return [failed_life(what, at_s)]
        seen = Seen(began_s=what.began_s, ended_s=what.ended_s, committed_s=at_s)
        self._committed[what.job.id, what.job.attempt] = seen
        if len(self._committed) > COMMITTED_MOST:
            self._committed.popitem(last=False)
        return []
