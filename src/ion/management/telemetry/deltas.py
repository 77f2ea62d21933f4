"""Figures as what was added since the last time, for those who add up themselves (Azure Monitor does)."""

import msgspec

from ion.management.telemetry.records import Figure, Figures, Point, Shape

_Key = tuple[str, tuple[tuple[str, str | int | float | bool], ...]]


class Deltas:
    """Remembers the figures that were last told. With `again`, somebody else told of what came before the first."""

    def __init__(self, *, again: bool = False) -> None:
        self._passes = again
        self._last: dict[_Key, Point] = {}
        self._at_ns = 0

    def of(self, told: Figures) -> Figures:
        """Gauges as they are; of all others what has come since the last call."""
        figures = tuple(self._figure(figure) for figure in told.figures)
        since_ns, self._at_ns = self._at_ns or told.since_ns, told.at_ns
        if self._passes:
            self._passes = False
            figures = tuple(figure for figure in figures if figure.shape is Shape.GAUGE)
        return msgspec.structs.replace(told, since_ns=since_ns, figures=figures)

    def _figure(self, figure: Figure) -> Figure:
        if figure.shape is Shape.GAUGE:
            return figure
        points = tuple(self._point(figure.name, point) for point in figure.points)
        return msgspec.structs.replace(figure, points=points)

    def _point(self, name: str, point: Point) -> Point:
        key = (name, tuple(sorted(point.attributes.items())))
        last, self._last[key] = self._last.get(key), point
        if last is None:
            return point
        return msgspec.structs.replace(
            point,
            value=point.value - last.value,
            count=point.count - last.count,
            buckets=tuple(now - then for now, then in zip(point.buckets, last.buckets, strict=True)),
        )
