"""Waiting for a service that is away: one clear log line when it goes, one when it is back."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from ion.errors import UnavailableError

log = logging.getLogger(__name__)

FIRST_S = 0.2
MOST_S = 10.0


class Backoff:
    """Doubles its wait with each failure, up to ten seconds, so that work resumes soon after the service does."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._failures = 0

    async def wait(self, error: Exception) -> None:
        if not self._failures:
            log.warning("%s failed and will be tried again: %s", self._doing, error)
        self._failures += 1
        wait_s = min(MOST_S, FIRST_S * 2.0 ** min(self._failures - 1, 16))
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret

    def fine(self) -> None:
        if self._failures:
            log.warning("%s works again", self._doing)
        self._failures = 0


async def persist(work: Callable[[], Awaitable[None]], doing: str) -> None:
    """Does what can be repeated until it succeeds, however long its service is away."""
    backoff = Backoff(doing)
    while True:
        try:
            await work()
        except UnavailableError as error:
            await backoff.wait(error)
        else:
            backoff.fine()
            return
