"""How many dispatchers a module is to have: pure decisions, which take the time.

More are wanted at once. Fewer are wanted only when for `down_after_s` never so many would have been: what was wanted
within that time is remembered, and the most of it counts. So a queue that comes and goes does not start and stop them.
"""

import math
from collections.abc import Sequence

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """From `least` (0: none while nothing is to do) to `most` dispatchers, one for `per_replica` open jobs."""

    least: int
    most: int
    per_replica: int
    down_after_s: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """So many were wanted at that time, in seconds on a clock that nobody sets."""

    at_s: float
    wanted: int


def wanted(open_jobs: int, policy: Policy) -> int:
    """How many there should be for so many jobs, whatever there was."""
    needed = math.ceil(open_jobs / policy.per_replica)
    return min(policy.most, max(policy.least, needed))


def decide(recent: Sequence[Mark], open_jobs: int, policy: Policy, *, now_s: float) -> tuple[int, Sequence[Mark]]:
    """How many there are to be now, and what to remember for the next time.

    Args:
        recent: What was remembered the last time; one mark with the present number if nothing is known, or if
            somebody else has changed it.
        open_jobs: Jobs that wait for being run now, run, or are not yet released.
        policy: What may be.
        now_s: The time, on the marks' clock.
    """
    now = Mark(at_s=now_s, wanted=wanted(open_jobs, policy))
    kept = [mark for mark in recent if now_s - mark.at_s < policy.down_after_s and mark.wanted > now.wanted]
    return min(policy.most, max(mark.wanted for mark in (*kept, now))), (*kept, now)
