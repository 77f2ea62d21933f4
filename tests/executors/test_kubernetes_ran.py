"""When a module ran in a pod, more exactly than Kubernetes says."""

import pytest
from tests.executors.test_kubernetes_seen import START_S, Document, ended, pod, running, said

from ion.adapters.executors.kubernetes.ran import ran


def prepared(at_s: float) -> Document:
    return ended(0, 1, 3, message=said(execution="x-1", prepared_at_s=START_S + at_s))


def commit(began_s: float) -> Document:
    return ended(0, 5, 6, message=said(execution="x-1", manifest="m", began_s=START_S + began_s))


@pytest.mark.parametrize(
    ("states", "times"),
    [
        ((prepared(3.25),), (0, 0)),
        ((prepared(3.25), running(3)), (3.25, 0)),
        ((prepared(3.25), running(4)), (4, 0)),
        ((prepared(3.25), ended(0, 3, 5), running(5)), (3.25, 5)),
        ((prepared(3.25), ended(0, 3, 3), commit(3.75)), (3.25, 3.75)),
        ((prepared(3.25), ended(0, 3, 5), commit(9)), (3.25, 6)),
        ((ended(0, 1, 3), ended(0, 3, 5), ended(0, 5, 6)), (3, 5)),
        ((prepared(99), ended(0, 3, 5), commit(1)), (4, 4)),
    ],
)
def test_what_the_handler_tells_makes_seconds_exact(states: tuple[Document, ...], times: tuple[float, float]) -> None:
    """Within the second that Kubernetes names; without the handler's word, or with a wild one, that second counts."""
    began_s, ended_s = ran(pod(*states))
    assert (began_s and began_s - START_S, ended_s and ended_s - START_S) == times
