"""Waiting for what other processes bring about.

A look may cost as much as a start of kubectl, and whoever brings it about needs the processors too: looks take a
quarter of one at most.
"""

import time
from collections.abc import Callable

LEAST_S, BESIDE = 0.02, 3.0
"""How long it is between looks, at least, and how many times as long as a look took."""


def waited(done: Callable[[], bool], patience_s: float) -> bool:
    """Whether it came about in time."""
    deadline = time.monotonic() + patience_s
    while True:
        began = time.monotonic()
        if done():
            return True
        ended = time.monotonic()
        if ended > deadline:
            return False
        time.sleep(max(LEAST_S, BESIDE * (ended - began)))
