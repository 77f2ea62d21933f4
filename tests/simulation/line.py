"""What lies between a dispatcher and its ports: every call goes over its line, where the schedule may hold it back.

A call that is held back is let through, fails before it took effect, or takes effect and its answer is lost. So a
dispatcher can be interrupted, killed or put to sleep at every port call that it makes.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from ion.errors import UnavailableError


class Fate(StrEnum):
    """What becomes of a call that was held back."""

    THROUGH = "through"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


class Held:
    """A call that waits for its fate."""

    def __init__(self, verb: str, work: Callable[[], Awaitable[Any]], fate: asyncio.Future[Fate]) -> None:
        self.verb, self.work, self.fate = verb, work, fate


class Line:
    """One dispatcher's line. `holds` is how likely a call is held back."""

    def __init__(self, name: str, dice: random.Random, holds: float) -> None:
        self.name, self.holds = name, holds
        self.held: list[Held] = []
        self.cut = False
        """Its dispatcher is dead: nothing goes over it any more."""
        self.asleep = False
        self.before: Callable[[str], None] = lambda _: None
        """Told of each call as it is made."""
        self.heard: Callable[[str, Fate], None] = lambda _verb, _fate: None
        """Told of each call as it is let go, with its fate."""
        self._dice = dice

    async def carry(self, verb: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Makes a call, when the schedule lets it."""
        self.before(verb)
        fate = await self._fate(verb, work)
        self.heard(verb, fate)
        if self.cut:
            raise asyncio.CancelledError
        if fate is Fate.REFUSED:
            raise UnavailableError(f"{verb} is not to be had")
        answer = await work()
        if fate is Fate.UNANSWERED:
            raise UnavailableError(f"{verb} does not answer")
        if self.cut:
            raise asyncio.CancelledError
        return answer

    async def _fate(self, verb: str, work: Callable[[], Awaitable[Any]]) -> Fate:
        if self.cut:
            raise asyncio.CancelledError
        if not self.asleep and self._dice.random() >= self.holds:
            return Fate.THROUGH
        held = Held(verb, work, asyncio.get_running_loop().create_future())
        self.held.append(held)
        try:
            return await held.fate
        finally:
            if held in self.held:
                self.held.remove(held)


class Over:
    """A port as it is seen over a line: its coroutines are carried, everything else is as it is."""

    def __init__(self, port: Any, line: Line) -> None:
        self._port, self._line = port, line
        self._name = type(port).__name__

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self._port, verb)
        if not inspect.iscoroutinefunction(found):
            self.__dict__[verb] = found
            return found

        async def carried(*args: Any, **more: Any) -> Any:
            return await self._line.carry(f"{self._name}.{verb}{_about(args)}", lambda: found(*args, **more))

        self.__dict__[verb] = carried
        return carried


def _about(args: tuple[Any, ...]) -> str:
    """The beginning of the id that a call is about."""
    about = getattr(args[0], "job", args[0]) if args else ""
    return f" {getattr(about, 'id', about)[:8]}" if isinstance(getattr(about, "id", about), str) else ""
