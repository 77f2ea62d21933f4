"""Trying again, at a service where attempts run: ever more rarely, and not while it wants to be left alone."""

import random

from ion.errors import UnavailableError

_FIRST_S, _MOST_S = 0.1, 10.0


class RefusedError(UnavailableError):
    """The service answered, and would not now: a quota, too many requests, no right. `status` is the HTTP status.

    `after_s` is how long it wants to be left alone, in seconds; 0 if it does not say.
    """

    def __init__(self, message: str, *, status: int = 0, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.after_s = after_s


class Backoff:
    """How long to wait before the next try: longer each time, and at least as long as a busy service asks for."""

    def __init__(self, most_s: float = _MOST_S) -> None:
        self.tries = 0
        self._most_s = most_s

    def fine(self) -> None:
        self.tries = 0

    def next_s(self, error: Exception | None = None) -> float:
        wait_s = min(self._most_s, _FIRST_S * 2.0 ** min(self.tries, 16)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self.tries += 1
        return max(wait_s, error.after_s) if isinstance(error, RefusedError) else wait_s
