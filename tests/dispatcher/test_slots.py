"""The room of a place, and a dispatcher's part of a module's concurrency."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.dispatcher.slots import Slots, share_of
from ion.model.module import Resources

GIB = 2**30
names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=9, unique=True)


def filled(capacity: Resources, *taken: Resources) -> Slots:
    """Slots of which attempts take these."""
    slots = Slots(capacity)
    for number, needs in enumerate(taken):
        slots.take("job", number, needs)
    return slots


def test_a_module_that_declares_no_cpu_takes_one() -> None:
    """So a machine of four runs four of them, and none beside them."""
    machine = Resources(cpu=4.0)
    assert filled(machine).fits(Resources(), 99) == 4
    assert filled(machine, Resources(), Resources()).fits(Resources(), 99) == 2
    assert filled(machine, *[Resources()] * 4).fits(Resources(), 99) == 0


@pytest.mark.parametrize(
    ("needs", "room"),
    [
        (Resources(cpu=1.0), 8),
        (Resources(cpu=3.0), 2),
        (Resources(cpu=0.5, memory=5 * GIB), 3),
        (Resources(cpu=0.5, gpu=1), 2),
        (Resources(cpu=4.0, memory=GIB, gpu=1), 2),
        (Resources(cpu=0.1, memory=16 * GIB, gpu=1), 1),
    ],
)
def test_the_scarcest_resource_decides(needs: Resources, room: int) -> None:
    """Cpu, memory and gpu each bound how many fit."""
    assert filled(Resources(cpu=8.0, memory=16 * GIB, gpu=2)).fits(needs, 99) == room


def test_what_runs_takes_from_every_resource() -> None:
    """An attempt with a gpu leaves less memory to one without."""
    machine = Resources(cpu=8.0, memory=16 * GIB, gpu=2)
    slots = filled(machine, Resources(cpu=2.0, memory=12 * GIB, gpu=2))
    assert slots.fits(Resources(cpu=1.0, memory=4 * GIB), 99) == 1
    assert slots.fits(Resources(cpu=1.0, gpu=1), 99) == 0
    assert slots.fits(Resources(cpu=1.0), 99) == 6


def test_what_ended_makes_room() -> None:
    """Giving a slot back twice, or one that was never taken, gives no more."""
    slots = filled(Resources(cpu=2.0), Resources(), Resources())
    for _ in range(2):
        slots.give("job", 0)
    slots.give("other", 0)
    assert slots.fits(Resources(), 99) == 1


def test_no_more_fit_than_are_asked_for() -> None:
    """The share of the module's concurrency is a bound as well, and none is none."""
    assert filled(Resources(cpu=8.0)).fits(Resources(), 3) == 3
    assert filled(Resources(cpu=8.0)).fits(Resources(), 0) == 0


def test_a_zero_of_the_place_is_no_bound() -> None:
    """A cluster that does not tell its size takes what it is given."""
    assert filled(Resources(), Resources(cpu=64.0)).fits(Resources(cpu=64.0, memory=GIB, gpu=8), 7) == 7


def test_fractions_add_up() -> None:
    """Ten tenths are one, though floating point says a little more."""
    assert filled(Resources(cpu=1.0), Resources(cpu=0.9)).fits(Resources(cpu=0.1), 99) == 1
    assert filled(Resources(cpu=1.0), *[Resources(cpu=0.1)] * 10).fits(Resources(cpu=0.1), 99) == 0


def test_sharers_divide_cpu_and_memory_but_not_gpus() -> None:
    """Devices are given out by the ledger, one by one, so nobody's share of them is set aside."""
    slots = filled(Resources(cpu=8.0, memory=16 * GIB, gpu=2))
    slots.share_with(2)
    assert slots.fits(Resources(cpu=1.0), 99) == 4
    assert slots.fits(Resources(cpu=0.5, memory=4 * GIB), 99) == 2
    assert slots.fits(Resources(cpu=0.5, gpu=1), 99) == 2
    slots.share_with(0)
    assert slots.fits(Resources(cpu=1.0), 99) == 8


def test_a_job_larger_than_the_share_runs_alone() -> None:
    """Else it would never run; but beside another it has to wait."""
    slots = Slots(Resources(cpu=4.0))
    slots.share_with(4)
    assert slots.fits(Resources(cpu=4.0), 99) == 1
    slots.take("job", 1, Resources(cpu=0.5))
    assert slots.fits(Resources(cpu=4.0), 99) == 0


@given(
    st.integers(1, 64),
    st.lists(st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.5, 3.0]), max_size=30),
    st.sampled_from([0.1, 0.5, 1.0, 2.0]),
)
def test_what_fits_really_fits(cpus: int, taken: list[float], each: float) -> None:
    """Together with what runs it never exceeds the place, but for the one job that runs alone."""
    slots = filled(Resources(cpu=float(cpus)), *[Resources(cpu=cpu) for cpu in taken])
    room = slots.fits(Resources(cpu=each), 1000)
    assert room >= 0
    if room and taken:
        assert sum(taken) + room * each <= cpus + 1e-6
    if not taken:
        assert room == max(1, int(cpus / each + 1e-9))


@given(st.integers(0, 1000), names, st.text(max_size=8))
def test_the_shares_of_all_dispatchers_are_the_whole(total: int, sharers: list[str], module: str) -> None:
    """No job too many and none too few, and no dispatcher has two more than another."""
    shares = [share_of(total, sharers, me, module) for me in sharers]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@given(st.integers(0, 1000), names.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_every_dispatcher_divides_alike(total: int, orders: tuple[list[str], list[str]]) -> None:
    """The order in which the ledger names them does not matter, since each computes its share by itself."""
    sharers, shuffled = orders
    assert all(share_of(total, sharers, me, "m") == share_of(total, shuffled, me, "m") for me in sharers)


def test_the_remainder_falls_to_another_for_another_module() -> None:
    """Ten modules with a concurrency of one are not all served by the same dispatcher."""
    sharers = ["one", "two", "three"]
    served = {me for module in "abcdefgh" for me in sharers if share_of(1, sharers, me, module)}
    assert served == set(sharers)


def test_a_dispatcher_that_is_not_among_the_sharers_has_it_all() -> None:
    """Before its first beat is seen; a change of membership may exceed the concurrency for a while."""
    assert share_of(7, ["one", "two"], "three", "m") == 7
    assert share_of(7, [], "three", "m") == 7
