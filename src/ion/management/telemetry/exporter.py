"""The process that exports: reads records from its standard input, and ends when that does.

It goes on when the process that it works for is killed, until it has exported what it was handed. It heeds no signal
but SIGKILL: those that end a whole group of processes come before the last records.
"""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ion.management.telemetry.delivery import Delivery, secrets_of
from ion.management.telemetry.deltas import Deltas
from ion.management.telemetry.records import Figures, Line, Record, Span, unframed
from ion.management.telemetry.wanted import SIGNALS, Wanted
from ion.messaging.loglines import configure

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger("ion.telemetry")

END_S = 4.0
"""How long the last export may take."""
BEHIND = 5
"""By how much its priority is lower than that of the work: where all processors are busy, it has less of them."""
SIZES = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "32768",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_BLRP_SCHEDULE_DELAY": "1000",
}
"""Where the variables do not say otherwise: a burst of some thousand jobs fits, and a trace is there after a second."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What to export, and as whom: attributes of the resource. `as_json`: its own log lines. `again`: another process
    exported the same before.
    """

    wanted: Wanted
    resource: dict[str, str]
    as_json: bool
    again: bool = False


def main(arguments: Sequence[str]) -> None:
    """`arguments`: its `Orders`, as JSON."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(BEHIND)
    orders = msgspec.json.decode(arguments[0], type=Orders)
    configure(verbose=False, as_json=orders.as_json)
    for name, value in SIZES.items():
        os.environ.setdefault(name, value)
    delivery = Delivery(secrets_of(os.environ))
    try:
        pipelines = Pipelines(orders, delivery)
    except Exception as error:  # noqa: BLE001 - whatever a vendor's package makes of a variable: one sentence
        log.warning("nothing is exported: %s", delivery.without_secrets(str(error)))
        return
    if not pipelines:
        return
    for record in unframed(sys.stdin.buffer):
        pipelines.add(record)
    threading.Thread(target=_end_late, args=(delivery,), daemon=True).start()
    pipelines.close()


def _end_late(delivery: Delivery) -> None:
    """What is not exported by then is lost."""
    threading.Event().wait(END_S)
    why = f": {delivery.heard}" if delivery.heard else ""
    log.warning("the last telemetry could not be exported within %g s and is lost%s", END_S, why)
    os._exit(1)


class Pipelines:
    """Where each kind of record goes; `__bool__` is whether any goes anywhere."""

    def __init__(self, orders: Orders, delivery: Delivery) -> None:
        delivery.listen()
        from ion.management.telemetry import sdk

        resource = sdk.resource_of(orders.resource)
        made = _Made(orders.wanted, delivery)
        self._spans = sdk.Spans(resource, made.traces) if made.traces else None
        self._lines = sdk.Lines(resource, made.logs) if made.logs else None
        self._figures = _Figures(resource, made.metrics, again=orders.again) if made.metrics else None
        delivery.begin()

    def __bool__(self) -> bool:
        return bool(self._spans or self._lines or self._figures)

    def add(self, record: Record) -> None:
        match record:
            case Span() if self._spans is not None:
                self._spans.add(record)
            case Line() if self._lines is not None:
                self._lines.add(record)
            case Figures() if self._figures is not None:
                self._figures.add(record)

    def close(self) -> None:
        """Exports what is left."""
        closing = [threading.Thread(target=one.close) for one in (self._spans, self._lines, self._figures) if one]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


class _Made:
    """The exporters by signal. One that cannot be is left out, which is said; it is nothing to the others."""

    def __init__(self, asked: Wanted, delivery: Delivery) -> None:
        self._asked, self._delivery = asked, delivery
        self._failed: dict[tuple[str, str], list[str]] = {}
        self.traces, self.metrics, self.logs = map(self._of, SIGNALS)
        for (where, why), signals in self._failed.items():
            log.warning("%s cannot be exported to %s: %s", ", ".join(signals), where, why)

    def _of(self, signal: str) -> list[Any]:
        from ion.management.telemetry import sdk, watched

        made = []
        for kind in self._asked.exporters.get(signal, ()):
            try:
                exporter = sdk.exporter_of(signal, kind)
            except Exception as error:  # noqa: BLE001 - whatever a vendor's package makes of a variable
                why = self._delivery.without_secrets(str(error) or type(error).__name__)
                self._failed.setdefault((watched.where(signal, kind), why), []).append(signal)
            else:
                made.append(watched.WATCHED[signal](exporter, self._delivery, signal, kind))
        return made


class _Figures:
    """Exports figures in a thread of its own; those that come while it waits take the place of older ones."""

    def __init__(self, resource: "Resource", exporters: Iterable[Any], *, again: bool) -> None:
        self._resource = resource
        self._targets = [(one, Deltas(again=again) if one.adds_up else None) for one in exporters]
        self._next: queue.Queue[Figures | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)
        self._thread.start()

    def add(self, figures: Figures) -> None:
        """By one thread only."""
        with suppress(queue.Empty):
            self._next.get_nowait()
        self._next.put(figures)

    def close(self) -> None:
        self._next.put(None)
        self._thread.join()

    def _run(self) -> None:
        from ion.management.telemetry.sdk import metrics_data

        while (told := self._next.get()) is not None:
            for exporter, deltas in self._targets:
                figures = deltas.of(told) if deltas else told
                exporter.export(metrics_data(self._resource, figures, delta=deltas is not None))


if __name__ == "__main__":
    main(sys.argv[1:])
