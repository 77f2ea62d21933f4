"""Between the dispatcher and the screen: its steps, with what is worth seeing beside them.

The dispatcher tells of a step and goes on; here the steps wait in a queue until what belongs to them has been read. So
a slow terminal never holds a job up.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ion.cli.hosting import Host
from ion.cli.live import Reporter
from ion.cli.output import plain
from ion.dispatcher.finish import Progress, Step
from ion.errors import IonError
from ion.management.run import Result
from ion.model.job import State

LOG_TAIL = 20
LINE_MOST = 2000
TALLY_S = 0.25


class Show:
    """Tells a reporter what happens in these flows (none: in all) while the context is open."""

    def __init__(self, host: Host, reporter: Reporter, flows: Sequence[str] = ()) -> None:
        self._host, self._reporter, self._flows = host, reporter, frozenset(flows)
        self._failed: set[str] = set()
        self.tasks: tuple[asyncio.Task[None], ...] = ()
        """What shows; it ends only by a fault, such as a pipe whose reader has gone."""

    async def __aenter__(self) -> Self:
        self.tasks = (
            asyncio.create_task(self._tell(), name="show steps"),
            *([asyncio.create_task(self._count(), name="show tally")] if self._flows else ()),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if kind is not None:
            self._reporter.close(())

    async def finish(self, results: Sequence[Result]) -> None:
        """Shows the steps that are still in the queue, and the end."""
        joined = asyncio.create_task(self._host.steps.join(), name="show the rest")
        await asyncio.wait({joined, *self.tasks}, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        for task in self.tasks:
            if task.done():
                task.result()
        self._reporter.close(results)

    async def _tell(self) -> None:
        while True:
            await self._tell_one(await self._host.steps.get())
            self._host.steps.task_done()

    async def _tell_one(self, progress: Progress) -> None:
        if not self._flows or progress.job.correlation_id in self._flows:
            self._reporter.step(progress, await self._log_tail(progress))

    async def _log_tail(self, progress: Progress) -> Sequence[str]:
        """The end of the log, at a module's first failure."""
        module = progress.job.module
        if progress.step not in (Step.FAILED, Step.DEAD) or not progress.log or module in self._failed:
            return ()
        self._failed.add(module)
        lines: deque[bytes] = deque(maxlen=LOG_TAIL)
        rest = b""
        try:
            async for piece in self._host.stores.blobs.read(progress.log):
                *whole, rest = (rest + piece).split(b"\n")
                lines.extend(whole)
        except IonError as error:
            return (f"its log cannot be read: {error}",)
        return [plain(line.decode(errors="replace"), LINE_MOST) for line in (*lines, *([rest] if rest else ()))]

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(TALLY_S)
            total: Counter[tuple[str, State]] = Counter()
            for flow in self._flows:
                total.update(await self._host.stores.ledger.tally(flow))
            self._reporter.tally(total)
