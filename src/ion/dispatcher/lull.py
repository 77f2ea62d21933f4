"""When to do what nobody waits for.

A release goes with the next commit, in the same transaction of a store that has such. To clear up, there is time while
the only module has just begun; where several run, it is done with the next commit too.
"""

import asyncio

MOST_S = 0.005


class Lull:
    """`wait` returns at the next moment that suits, or after 5 ms where none comes."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOST_S, self.begin)
        await self._begun.wait()

    def begin(self) -> None:
        """This moment suits: what waits goes on in the next turn of the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._begun.set()
            self._begun.clear()
