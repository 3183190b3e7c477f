"""Line charts as SVG geometry: drawn on the server, because the pages run no scripts.

A chart is a few hundred points whatever was logged: each slice of the x axis keeps its lowest and its highest value, so that a
spike of one step stays visible. What is not finite leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320.0, 120.0
_SLICES = 160
_MARGIN = 4.0

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A metric over the steps of a run: `points` are (step, value) in step order, of `count` that were logged."""

    key: str
    count: int
    points: Sequence[Point]

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None

    @property
    def finite(self) -> list[float]:
        return [value for _, value in self.points if math.isfinite(value)]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG of WIDTH × HEIGHT: one path, a dot for each lonely point, and what stands at the ends of the axes."""

    path: str
    dots: Sequence[Point]
    left: float
    right: float
    bottom: float
    top: float


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most two points per slice of the x axis, the lowest and the highest, in the order they came."""
    if len(points) <= 2 * _SLICES:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / _SLICES or 1.0
    slices: dict[int, list[int]] = {}
    for number, (step, _) in enumerate(points):
        slices.setdefault(min(int((step - first) / width), _SLICES - 1), []).append(number)
    kept: list[Point] = []
    for numbers in slices.values():
        finite = [number for number in numbers if math.isfinite(points[number][1])]
        chosen = {min(finite, key=lambda n: points[n][1]), max(finite, key=lambda n: points[n][1])} if finite else numbers[:1]
        kept.extend(points[number] for number in sorted(chosen))
    # The ends of a curve stay: the last value is what people look for first.
    return [*points[:1], *(point for point in kept if first < point[0] < last), *points[-1:]]


def draw(series: Series) -> Drawing | None:
    """The geometry of a series; None when nothing of it is finite."""
    finite = series.finite
    if not finite:
        return None
    left, right = series.points[0][0], series.points[-1][0]
    bottom, top = min(finite), max(finite)
    path: list[str] = []
    dots: list[Point] = []
    for run in _runs(series.points):
        placed = [(_place(x, left, right, WIDTH), HEIGHT - _place(y, bottom, top, HEIGHT)) for x, y in run]
        if len(placed) == 1:
            dots.append(placed[0])
        else:
            path.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed))
    return Drawing(path="".join(path), dots=dots, left=left, right=right, bottom=bottom, top=top)


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points between the gaps."""
    found: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            found[-1].append(point)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _place(value: float, low: float, high: float, length: float) -> float:
    """Where a value lies on an axis; in the middle when the axis has no extent. Halved first: a difference may overflow."""
    extent = high / 2 - low / 2
    share = (value / 2 - low / 2) / extent if extent > 0 else 0.5
    return round(_MARGIN + share * (length - 2 * _MARGIN), 1)
