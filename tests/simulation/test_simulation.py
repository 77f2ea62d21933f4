"""Thousands of schedules of one small Ion, in which anything may fail at any port call, and no rule may ever break."""

import pytest
from tests.simulation.broken import BROKEN
from tests.simulation.schedule import Simulation
from tests.simulation.world import Fault

from ion.adapters.ledger.sqlite import SqliteLedger

BATCHES, BATCH = 20, 250
CAUGHT_WITHIN = 400


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_schedule_breaks_a_rule(batch: int) -> None:
    """Whatever happens in whatever order, R1 to R6 hold after every step, and everything ends once it has recovered."""
    with Simulation() as simulation:
        simulation.run_all(range(batch * BATCH, (batch + 1) * BATCH))


def test_the_schedule_that_was_asked_for(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """`--seed` runs one schedule and prints what happened in it."""
    with Simulation() as simulation, capsys.disabled():
        print("\n".join(simulation.run(seed)))


def test_a_seed_always_gives_the_same_schedule() -> None:
    """A trace is the same in a store that has seen other schedules, so a failing seed can be replayed alone."""
    with Simulation() as simulation:
        alone = [simulation.run(number) for number in range(5)]
    with Simulation() as simulation:
        others = [simulation.run(number) for number in reversed(range(10))]
    assert alone == others[:-6:-1]


@pytest.mark.parametrize("ledger_type", BROKEN, ids=lambda ledger_type: ledger_type.__name__)
def test_a_broken_ledger_is_caught(ledger_type: type[SqliteLedger]) -> None:
    """A ledger that breaks one promise is told within a few hundred schedules."""
    with Simulation(ledger_type) as simulation, pytest.raises(Fault, match=r"^seed \d+: "):
        simulation.run_all(range(CAUGHT_WITHIN))
