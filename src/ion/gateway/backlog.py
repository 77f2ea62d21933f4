"""How much there is to do already: with too many open jobs, new root events are held back (R6).

The ledger is asked for its open jobs page by page, no further than the limit. That is quick while there are few, and
while there are many it is done seldom: a count that took one second is used for twenty. Requests that come meanwhile
use the last count.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from ion.model.job import OPEN_STATES
from ion.ports.ledger import JobFilter, Ledger

PAGE = 500
USED_AT_LEAST_S = 1.0
USED_TIMES = 20.0


class Backlog:
    """Answers whether there is room for another root event. `count` gives the open jobs, if it can be had cheaper."""

    def __init__(
        self,
        ledger: Ledger,
        most: int,
        *,
        count: Callable[[], Awaitable[int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._most, self._clock = ledger, most, clock
        self._count = count or self._counted
        self._open = 0
        self._good_until_s = float("-inf")
        self._counting = asyncio.Lock()

    async def full(self) -> bool:
        """Whether `most` jobs are open. Raises UnavailableError where the ledger is away."""
        if self._clock() >= self._good_until_s and not self._counting.locked():
            async with self._counting:
                await self._look()
        return self._open >= self._most

    async def _look(self) -> None:
        began_s = self._clock()
        self._open = await self._count()
        ended_s = self._clock()
        self._good_until_s = ended_s + max(USED_AT_LEAST_S, USED_TIMES * (ended_s - began_s))

    async def _counted(self) -> int:
        states, counted, after = tuple(sorted(OPEN_STATES)), 0, None
        while counted < self._most:
            most = min(PAGE, self._most - counted)
            page = await self._ledger.query(JobFilter(states=states), most=most, after=after)
            counted, after = counted + len(page.jobs), page.after
            if after is None:
                break
        return counted
