"""Parallel coordinates as SVG: every trial of a sweep is a line through one axis per parameter, and ends at the metric.

Pure, and on the ground floor, because the embedded server's page and the file that `reg sweep show --save` writes show the
same picture. Colours are classes (`t0` the worst fifth to `t4` the best, `best`, `none` without a value), so that a style
sheet decides about them in light and dark; the better a line, the later it is drawn, so that the good ones stay visible."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

TONES = 5
STYLE = """\
.parallel { width: 100%; min-width: 560px; font: 11px system-ui, sans-serif; }
.parallel path { fill: none; stroke-width: 1.2; opacity: .75; }
.parallel .t0 { stroke: #c3ccda; }
.parallel .t1 { stroke: #9db4d6; }
.parallel .t2 { stroke: #6f98cf; }
.parallel .t3 { stroke: #3f78c4; }
.parallel .t4 { stroke: #1f5bb5; }
.parallel .best { stroke: #d9480f; stroke-width: 2.6; opacity: 1; }
.parallel .none { stroke: #b0b4ba; stroke-dasharray: 3 4; }
.parallel .axis path { stroke: var(--quiet, GrayText); stroke-width: 1; opacity: 1; }
.parallel text { fill: var(--ink, CanvasText); }
.parallel .name { text-anchor: middle; font-weight: 600; font-size: 12px; }
.parallel .scale { text-anchor: middle; fill: var(--quiet, GrayText); }
.parallel .tick { text-anchor: end; fill: var(--quiet, GrayText); }
.parallel .tick { paint-order: stroke; stroke: var(--paper, var(--ground, Canvas)); stroke-width: 3px; }
.parallel .last { text-anchor: start; }
@media (prefers-color-scheme: dark) {
.parallel .t0 { stroke: #3a4656; }
.parallel .t1 { stroke: #3f5880; }
.parallel .t2 { stroke: #4d74ac; }
.parallel .t3 { stroke: #6a9ce0; }
.parallel .t4 { stroke: #9cc2f5; }
.parallel .best { stroke: #ff922b; }
}
"""
_WIDTH, _NARROWEST, _SIDE, _TOP, _BOTTOM, _HEIGHT = 1000.0, 130.0, 80.0, 46.0, 14.0, 340.0
_LONGEST = 20  # characters of a name or value
_MOST_TICKS = 12  # of categories; of more, some are named
_FEW_VALUES = 8  # that were tried, are named themselves rather than round places between them
_TICK_ROOM = 0.045  # of an axis
_LOG_FROM = 30.0  # times the smallest, where equal factors tell more than equal steps
_NEAR_NUMBERS = 1e-12


@dataclass(frozen=True, kw_only=True)
class Line:
    """One trial: what it is called, a value per axis (None: it has none there), and the metric's value."""

    name: str
    cells: Sequence[Any]
    value: float | None


def parallel(axes: Sequence[str], lines: Sequence[Line], *, metric: str, maximize: bool) -> Markup:
    """The picture; an empty text when there is nothing to draw.

    Args:
        axes: the names of the parameters, as many as each line has cells; the metric's axis is added as the last.
    """
    if not axes or not lines:
        return Markup()
    columns = [_Axis.of([line.cells[number] for line in lines]) for number in range(len(axes))]
    columns.append(_Axis.of([line.value for line in lines]))
    tones = _tones(lines, maximize=maximize)
    order = sorted(range(len(lines)), key=lambda number: tones[number])
    between = max(_NARROWEST, (_WIDTH - 2 * _SIDE) / len(axes))
    width = 2 * _SIDE + between * len(axes)
    parts = [
        Markup('<svg class="parallel" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _short(width), _short(_HEIGHT), f"{len(lines)} trials: {', '.join(axes)} against {metric}"
        )
    ]
    best = next((number for number in reversed(order) if tones[number] >= 0), None)
    for number in order:
        line = lines[number]
        tone = "best" if number == best else "none" if tones[number] < 0 else f"t{math.floor(tones[number])}"
        path = _path(between, [axis.place(cell) for axis, cell in zip(columns, [*line.cells, line.value], strict=True)])
        if path:
            title = f"{line.name}: {metric} {_text(line.value)}"
            parts.append(Markup('<path class="{}" d="{}"><title>{}</title></path>').format(tone, path, title))
    for number, (name, axis) in enumerate(zip([*axes, metric], columns, strict=True)):
        parts.append(_drawn_axis(_SIDE + number * between, name, axis, last=number == len(axes)))
    return Markup("\n").join([*parts, Markup("</svg>")])


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Where values lie: numbers between `low` and `high`, by logarithm or not; or the places of `kinds`."""

    low: float
    high: float
    log: bool
    kinds: tuple[str, ...] = ()
    few: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[Any]) -> _Axis:
        known = [value for value in values if value is not None]
        if not all(_is_number(value) for value in known):
            return cls(low=0, high=0, log=False, kinds=tuple(sorted({_text(value) for value in known})))
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        few = tuple(sorted({float(value) for value in known}))
        log = low > 0 and math.log(high) - math.log(low) >= math.log(_LOG_FROM)
        return cls(low=float(low), high=float(high), log=log, few=few if len(few) <= _FEW_VALUES else ())

    def place(self, value: Any) -> float | None:
        """The height of a value, 0 at the bottom and 1 at the top."""
        if value is None:
            return None
        if self.kinds:
            return (self.kinds.index(_text(value)) + 0.5) / len(self.kinds)
        # Halved first: a difference of numbers may overflow.
        low, high, at = (math.log(x) / 2 if self.log else x / 2 for x in (self.low, self.high, float(value)))
        return (at - low) / (high - low) if high - low > 0 else 0.5

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.kinds:
            every = -(-len(self.kinds) // _MOST_TICKS)
            return [((n + 0.5) / len(self.kinds), kind) for n, kind in enumerate(self.kinds) if n % every == 0]
        if self.few:
            return self._named(self.few)
        shares = (0.0, 0.25, 0.5, 0.75, 1.0)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self._named([math.exp(low * (1 - share) + high * share) for share in shares])
        return self._named([self.low * (1 - share) + self.high * share for share in shares])

    def _named(self, values: Sequence[float]) -> list[tuple[float, str]]:
        """Those of the values whose names do not touch."""
        found: list[tuple[float, str]] = []
        for value in values:
            at = self.place(value)
            if at is not None and (not found or at - found[-1][0] >= _TICK_ROOM):
                found.append((at, _text(value)))
        return found


def _tones(lines: Sequence[Line], *, maximize: bool) -> list[float]:
    """How good each line is among all, from 0 (the worst) up to below TONES; -1 without a value."""
    ordered = sorted({line.value for line in lines if line.value is not None}, reverse=not maximize)
    step = TONES / len(ordered) if ordered else 0.0
    places = {value: min(number * step + step / 2, TONES - _NEAR_NUMBERS) for number, value in enumerate(ordered)}
    return [-1.0 if line.value is None else places[line.value] for line in lines]


def _path(between: float, places: Sequence[float | None]) -> str:
    """A smooth line through the places that exist."""
    points = [(_SIDE + number * between, _y(place)) for number, place in enumerate(places) if place is not None]
    if len(points) < 2:
        return ""
    path = f"M{_short(points[0][0])} {_short(points[0][1])}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = _short((x0 + x1) / 2)
        path += f"C{middle} {_short(y0)} {middle} {_short(y1)} {_short(x1)} {_short(y1)}"
    return path


def _drawn_axis(x: float, name: str, axis: _Axis, *, last: bool) -> Markup:
    at = _short(x)
    parts = [
        Markup('<g class="axis"><path d="M{} {}V{}"/>').format(at, _short(_TOP), _short(_HEIGHT - _BOTTOM)),
        Markup('<text class="name" x="{}" y="{}"><title>{}</title>{}</text>').format(at, _short(_TOP - 24), name, _cut(name)),
    ]
    if axis.log:
        parts.append(Markup('<text class="scale" x="{}" y="{}">log</text>').format(at, _short(_TOP - 10)))
    # Values stand on the side that lines come from, those of the last axis where no line is.
    side, beside = ("tick last", x + 8) if last else ("tick", x - 8)
    for share, label in axis.ticks:
        parts.append(Markup('<path d="M{} {}h{}"/>').format(at, _short(_y(share)), 5 if last else -5))
        place = _short(beside), _short(_y(share) + 4)
        parts.append(Markup('<text class="{}" x="{}" y="{}">{}</text>').format(side, *place, _cut(label)))
    return Markup("").join([*parts, Markup("</g>")])


def _y(place: float) -> float:
    return _HEIGHT - _BOTTOM - place * (_HEIGHT - _BOTTOM - _TOP)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
