"""What is counted, and how things stand, as OpenTelemetry names it. It is counted once, for the page (`ion.management.
metrics`); here it only gets other names. `docs/telemetry.md` lists them.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from ion.management.telemetry.records import Figure, Figures, Point, Shape, Value

_SHAPES = {"counter": Shape.SUM, "gauge": Shape.GAUGE, "histogram": Shape.HISTOGRAM}
_INFINITE = "+Inf"


class _Name(NamedTuple):
    name: str
    unit: str


NAMES = {
    "ion_attempts": _Name("ion.attempts", "{attempt}"),
    "ion_failures": _Name("ion.failures", "{attempt}"),
    "ion_attempt_seconds": _Name("ion.attempt.duration", "s"),
    "ion_step_seconds": _Name("ion.step.duration", "s"),
    "ion_transfer_bytes": _Name("ion.transfer.size", "By"),
    "ion_grpc_requests": _Name("ion.rpc.calls", "{call}"),
    "ion_grpc_request_seconds": _Name("rpc.server.call.duration", "s"),
    "ion_ledger_up": _Name("ion.ledger.up", "1"),
    "ion_jobs": _Name("ion.jobs", "{job}"),
    "ion_oldest_waiting_seconds": _Name("ion.jobs.oldest_waiting", "s"),
    "ion_module_standing": _Name("ion.module.standing", "1"),
    "ion_dispatchers": _Name("ion.dispatchers", "{dispatcher}"),
    "ion_unreleased": _Name("ion.jobs.unreleased", "{job}"),
    "ion_oldest_unreleased_seconds": _Name("ion.jobs.oldest_unreleased", "s"),
}
"""By the name on the page, without `_total`. What is not here is not exported: `ion_info` is in the resource."""

ATTRIBUTES = {
    "module": "ion.module",
    "outcome": "ion.outcome",
    "class": "error.type",
    "step": "ion.step",
    "way": "ion.way",
    "state": "ion.state",
    "standing": "ion.standing",
    "method": "rpc.method",
    "code": "rpc.response.status_code",
}


def figures(families: Iterable[Metric], since_ns: int) -> Figures:
    """All figures as they are now; of one that has no value yet nothing is told."""
    made = [_figure(family, NAMES[family.name]) for family in families if family.name in NAMES]
    return Figures(since_ns=since_ns, at_ns=time.time_ns(), figures=tuple(one for one in made if one.points))


def _figure(family: Metric, known: _Name) -> Figure:
    shape = _SHAPES[family.type]
    points = _histograms(family.samples) if shape is Shape.HISTOGRAM else _numbers(family.samples)
    return Figure(name=known.name, description=family.documentation, unit=known.unit, shape=shape, points=points)


def _numbers(samples: Iterable[Sample]) -> tuple[Point, ...]:
    return tuple(
        Point(attributes=_attributes(sample.labels), value=sample.value)
        for sample in samples
        if not sample.name.endswith("_created")
    )


def _histograms(samples: Sequence[Sample]) -> tuple[Point, ...]:
    """Prometheus tells how many are up to each bound, those of lower ones included."""
    series: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        series.setdefault(labels, []).append(sample)
    return tuple(_histogram(dict(labels), of_series) for labels, of_series in series.items())


def _histogram(labels: dict[str, str], samples: Sequence[Sample]) -> Point:
    up_to = [(one.labels["le"], int(one.value)) for one in samples if one.name.endswith("_bucket")]
    counts = [count for _, count in up_to]
    return Point(
        attributes=_attributes(labels),
        value=next(one.value for one in samples if one.name.endswith("_sum")),
        count=counts[-1],
        bounds=tuple(float(bound) for bound, _ in up_to if bound != _INFINITE),
        buckets=tuple(now - before for now, before in zip(counts, [0, *counts], strict=False)),
    )


def _attributes(labels: dict[str, str]) -> dict[str, Value]:
    return {ATTRIBUTES[name]: value for name, value in labels.items()}
