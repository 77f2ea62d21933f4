"""From when to when a module ran, to be told; a pure function of its pod.

Kubernetes cuts its times to the second. The handler in the pod tells when its directory was prepared and its commit
began, by the same node's clock: the module began after the one and ended before the other.
"""

from ion.adapters.executors.kubernetes.containers import COMMIT
from ion.adapters.executors.kubernetes.pods import Container, Document, containers_of, handler_and_module
from ion.adapters.executors.kubernetes.told import told

_CUT_S = 1.0


def ran(pod: Document) -> tuple[float, float]:
    """Seconds since the epoch; 0 for what has not come or is not known."""
    containers = containers_of(pod)
    (prepare, module), commit = handler_and_module(containers), containers.get(COMMIT, Container(name=COMMIT))
    if not module.started_at_s:
        return 0.0, 0.0
    prepared_s = told(prepare.terminated).prepared_at_s
    began_s = min(max(module.started_at_s, prepared_s), module.started_at_s + _CUT_S)
    if not module.ended_at_s:
        return began_s, 0.0
    committing_s = told(commit.terminated).began_s
    ended_s = min(module.ended_at_s + _CUT_S, committing_s) if committing_s else module.ended_at_s
    return began_s, max(began_s, ended_s)
