"""The page that Prometheus reads: how everything alive stands, and what was counted."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from ion import __version__
from ion.dispatcher.service import Stores
from ion.errors import IonError
from ion.management.local.census import Census, take_census
from ion.management.metrics.counts import Counts
from ion.model.job import State

_COUNTED = (State.WAITING, State.RUNNING, State.COMMITTED, State.DEAD, State.CANCELLED)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


async def page(stores: Stores, counts: Counts) -> bytes:
    """In Prometheus' text format. While the ledger is away, `ion_ledger_up` is 0 and only what was counted is told."""
    try:
        census: Census | None = await take_census(stores.ledger)
    except IonError:
        census = None
    await counts.catch_up(stores.blobs)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(census))
    return generate_latest(registry) + generate_latest(counts.registry)


class _Now(Collector):
    """One look at the ledger as metrics."""

    def __init__(self, census: Census | None) -> None:
        self._census = census

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("ion", "This Ion.", {"version": __version__})
        up = 0.0 if self._census is None else 1.0
        yield GaugeMetricFamily("ion_ledger_up", "Whether the ledger answers.", up)
        if self._census is not None:
            yield from _modules(self._census)
            yield from _whole(self._census)


def _modules(census: Census) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("ion_jobs", "Jobs, by module and state.", labels=("module", "state"))
    oldest = GaugeMetricFamily("ion_oldest_waiting_seconds", "Age of the oldest waiting job.", labels=("module",))
    standing = GaugeMetricFamily("ion_module_standing", "How modules fare: 1.", labels=("module", "standing"))
    for state in census.modules:
        name = state.registered.module.name
        for job_state in _COUNTED:
            jobs.add_metric((name, job_state.value), state.jobs.get(job_state, 0))
        oldest.add_metric((name,), state.oldest_s or 0.0)
        standing.add_metric((name, state.standing), 1.0)
    yield from (jobs, oldest, standing)


def _whole(census: Census) -> Iterator[Metric]:
    yield GaugeMetricFamily("ion_dispatchers", "Dispatchers that may be alive.", len(census.dispatchers))
    yield GaugeMetricFamily("ion_unreleased", "Jobs whose events are not published yet.", len(census.committed))
    oldest = census.oldest_committed_s or 0.0
    yield GaugeMetricFamily("ion_oldest_unreleased_seconds", "Age of the oldest of them.", oldest)
