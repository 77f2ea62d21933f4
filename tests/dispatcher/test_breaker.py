"""The breaker: when a module that only fails is left alone, and when one job of it may try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.dispatcher.breaker import PROBE_MOST_S, PROBE_S, TROUBLE_LIMIT, Allowance, allowance
from ion.ports.ledger import Health

healths = st.builds(
    Health,
    dead_in_row=st.integers(0, 10_000),
    trouble_in_row=st.integers(0, 10_000),
    quiet_s=st.floats(0.0, 1e6),
)


@pytest.mark.parametrize("health", [Health(), Health(dead_in_row=19), Health(trouble_in_row=TROUBLE_LIMIT - 1)])
def test_below_its_limits_the_breaker_is_closed(health: Health) -> None:
    """It sets no bound of its own, and there is nothing to look at again."""
    assert allowance(health, 20) == Allowance(most=None, again_s=None)
    assert allowance(health, 20).closed


@pytest.mark.parametrize("health", [Health(dead_in_row=20), Health(trouble_in_row=TROUBLE_LIMIT)])
def test_at_its_limit_it_opens_and_waits_for_the_first_probe(health: Health) -> None:
    """Deaths in a row open it, and so do infrastructure failures, whichever comes first."""
    assert allowance(health, 20) == Allowance(most=0, again_s=PROBE_S)
    assert not allowance(health, 20).closed


def test_a_probe_is_one_job_once_it_was_quiet_for_long_enough() -> None:
    """Until then the wait that is left is told."""
    assert allowance(Health(dead_in_row=3, quiet_s=PROBE_S - 0.5), 3) == Allowance(most=0, again_s=0.5)
    assert allowance(Health(dead_in_row=3, quiet_s=PROBE_S), 3) == Allowance(most=1)


@pytest.mark.parametrize(("failed_probes", "wait_s"), [(0, 2.0), (1, 4.0), (2, 8.0), (7, 256.0), (8, 300.0)])
def test_each_probe_that_fails_doubles_the_wait_up_to_a_bound(failed_probes: int, wait_s: float) -> None:
    """A module that stays broken is asked ever more rarely, but at least every five minutes."""
    assert allowance(Health(dead_in_row=20 + failed_probes), 20).again_s == wait_s
    assert allowance(Health(trouble_in_row=TROUBLE_LIMIT + failed_probes), 20).again_s == wait_s


def test_a_module_may_do_without_counting_deaths() -> None:
    """`pause_after: 0` never opens for dead jobs; infrastructure is nobody's fault and opens all the same."""
    assert allowance(Health(dead_in_row=10_000), 0).closed
    assert not allowance(Health(dead_in_row=10_000, trouble_in_row=TROUBLE_LIMIT), 0).closed


def test_the_worse_of_two_troubles_decides() -> None:
    """A module that dies and meets no infrastructure either waits for the longer of both."""
    health = Health(dead_in_row=21, trouble_in_row=TROUBLE_LIMIT + 3)
    assert allowance(health, 20).again_s == PROBE_S * 2**3


@given(healths, st.integers(0, 100))
def test_an_open_breaker_always_comes_to_a_probe(health: Health, pause_after: int) -> None:
    """It is closed, or lets exactly one job try, or says within which bounded time to look again."""
    allowed = allowance(health, pause_after)
    if allowed.most == 0:
        assert allowed.again_s is not None
        assert 0.0 < allowed.again_s <= PROBE_MOST_S
        patient = Health(
            dead_in_row=health.dead_in_row,
            trouble_in_row=health.trouble_in_row,
            quiet_s=health.quiet_s + allowed.again_s + 1e-6,
        )
        assert allowance(patient, pause_after).most == 1
    else:
        assert (allowed.most, allowed.again_s) in [(None, None), (1, None)]
        limit_reached = health.trouble_in_row >= TROUBLE_LIMIT or 0 < pause_after <= health.dead_in_row
        assert allowed.closed is not limit_reached
