"""The breaker: a module that only fails is left alone, but for one probe at a time. Pure (R5).

It opens after `pause_after` dead jobs in a row, or after repeated infrastructure failures. What it looks at stands in
the ledger, so every dispatcher sees the same breaker; the ledger bounds the probes of all of them to one.
"""

import msgspec

from ion.ports.ledger import Health

TROUBLE_LIMIT = 5
"""So many infrastructure failures in a row open the breaker."""
PROBE_S = 2.0
PROBE_MOST_S = 300.0


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of the module may run at once (None: no bound of the breaker's), and when to look again."""

    most: int | None = None
    again_s: float | None = None

    @property
    def closed(self) -> bool:
        return self.most is None


def allowance(health: Health, pause_after: int) -> Allowance:
    """Closed; or open with a probe due (`most` 1), or with one to come in `again_s` seconds (`most` 0)."""
    over = _beyond(health, pause_after)
    if over < 0:
        return Allowance()
    wait_s = min(PROBE_MOST_S, PROBE_S * 2.0 ** min(over, 16)) - health.quiet_s
    return Allowance(most=1) if wait_s <= 0 else Allowance(most=0, again_s=wait_s)


def _beyond(health: Health, pause_after: int) -> int:
    """How many failures past the point of opening; negative while the breaker is closed."""
    dead = health.dead_in_row - pause_after if pause_after > 0 else -1
    return max(dead, health.trouble_in_row - TROUBLE_LIMIT)
