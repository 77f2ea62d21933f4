"""How many dispatchers there are to be: decided by the queue and what it was lately, whatever comes."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ion.management.control.scale import Mark, Policy, decide, wanted

POLICIES = st.builds(
    lambda least, more, per, after: Policy(least=least, most=max(1, least + more), per_replica=per, down_after_s=after),
    st.integers(0, 2),
    st.integers(0, 20),
    st.integers(1, 50),
    st.floats(1.0, 600.0),
)
STEPS = st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(0, 2000)), min_size=1, max_size=40)
FIVE = Policy(least=0, most=5, per_replica=10, down_after_s=60.0)


def played(steps: Sequence[tuple[float, int]], policy: Policy) -> list[tuple[float, int, int]]:
    """The time, the open jobs and the decision at each step; a step begins so many seconds after the one before."""
    recent: Sequence[Mark] = ()
    now_s, told = 0.0, []
    for passed_s, jobs in steps:
        now_s += passed_s
        replicas, recent = decide(recent, jobs, policy, now_s=now_s)
        told.append((now_s, jobs, replicas))
    return told


@given(STEPS, POLICIES)
def test_there_are_never_more_or_fewer_than_may_be(steps: list[tuple[float, int]], policy: Policy) -> None:
    """Whatever the queue does."""
    assert all(policy.least <= replicas <= policy.most for _, _, replicas in played(steps, policy))


@given(STEPS, POLICIES)
def test_more_are_wanted_at_once(steps: list[tuple[float, int]], policy: Policy) -> None:
    """No job waits for a dispatcher because of what was before; from none as well."""
    for _, jobs, replicas in played(steps, policy):
        assert replicas >= wanted(jobs, policy)
        assert replicas >= min(1, jobs)


@given(STEPS, POLICIES)
def test_there_are_as_many_as_the_most_that_was_wanted_lately(steps: list[tuple[float, int]], policy: Policy) -> None:
    """So there are fewer only once the queue was short for long enough, and then there are."""
    told = played(steps, policy)
    for at, (now_s, _, replicas) in enumerate(told):
        lately = [jobs for then_s, jobs, _ in told[: at + 1] if then_s == now_s or now_s - then_s < policy.down_after_s]
        assert replicas == max(wanted(jobs, policy) for jobs in lately)


@given(STEPS, POLICIES)
def test_little_is_remembered(steps: list[tuple[float, int]], policy: Policy) -> None:
    """At most one mark for each number that there may be, however many looks are taken."""
    recent: Sequence[Mark] = ()
    now_s = 0.0
    for passed_s, jobs in steps:
        now_s += passed_s
        _, recent = decide(recent, jobs, policy, now_s=now_s)
    assert len(recent) <= policy.most - policy.least + 1


def test_a_queue_that_comes_and_goes_leaves_them_alone() -> None:
    """Two looks at an empty queue between full ones stop none."""
    steps = [(0.0, 30), (20.0, 0), (20.0, 30), (20.0, 0), (39.0, 1)]
    assert [replicas for _, _, replicas in played(steps, FIVE)] == [3, 3, 3, 3, 3]


def test_after_a_while_of_quiet_there_are_none() -> None:
    """If none may be; a job then brings one."""
    assert [replicas for _, _, replicas in played([(0.0, 30), (60.0, 0), (1.0, 1)], FIVE)] == [3, 0, 1]


def test_who_knows_nothing_takes_what_is_there_for_wanted() -> None:
    """A management that has just started stops nothing at its first look."""
    replicas, recent = decide([Mark(at_s=0.0, wanted=4)], 0, FIVE, now_s=0.0)
    assert replicas == 4
    assert decide(recent, 0, FIVE, now_s=60.0)[0] == 0


def test_what_may_be_counts_more_than_what_was() -> None:
    """With a smaller maximum there are fewer at once."""
    assert decide([Mark(at_s=0.0, wanted=9)], 100, FIVE, now_s=1.0)[0] == 5
