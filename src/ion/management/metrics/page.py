"""The page that Prometheus reads: how everything alive stands, and what was counted."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ion import __version__
from ion.dispatcher.stores import Stores
from ion.errors import IonError
from ion.management.local.census import Census, take_census
from ion.management.metrics.counts import Counts
from ion.model.job import State
from ion.ports.ledger import Ledger

_COUNTED = (State.WAITING, State.RUNNING, State.COMMITTED, State.DEAD, State.CANCELLED)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def page(stores: Stores, counts: Counts) -> bytes:
    """In Prometheus' text format; see `families`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(await _now(stores.ledger, counts)))
    await counts.catch_up(stores.blobs)
    return generate_latest(registry) + generate_latest(counts.registry)


async def families(stores: Stores, counts: Counts) -> Sequence[Metric]:
    """All figures. While the ledger is away, `ion_ledger_up` is 0 and only what was counted is told."""
    now = await _now(stores.ledger, counts)
    await counts.catch_up(stores.blobs)
    return [*now, *counts.registry.collect()]


class _Told(Collector):
    def __init__(self, told: Sequence[Metric]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        return iter(self._told)


async def _now(ledger: Ledger, counts: Counts) -> Sequence[Metric]:
    """One look at the ledger as metrics; `counts` gets to know the modules that are there."""
    info = InfoMetricFamily("ion", "This Ion.", {"version": __version__})
    try:
        census = await take_census(ledger)
    except IonError:
        return [info, GaugeMetricFamily("ion_ledger_up", "Whether the ledger answers.", 0.0)]
    counts.know(state.registered.module.name for state in census.modules)
    up = GaugeMetricFamily("ion_ledger_up", "Whether the ledger answers.", 1.0)
    return [info, up, *_modules(census), *_whole(census)]


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
