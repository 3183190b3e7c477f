"""SVG for the page of a verdict: pure functions from numbers to markup, the same for the same numbers.

One grammar throughout: a bar is an interval, a dot the measured value, a solid line the threshold, a dashed one "no change",
and the shaded side is where the candidate must not be. An arrow is a bound that does not exist. Horizontal places are
percentages and vertical ones pixels, so that a drawing is as wide as its place while text and strokes keep their size. Colours
are classes, so that the page's style sheet decides about them, in light and dark and on paper.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

Side = Literal["below", "above"]
Bounds = tuple[float | None, float | None]

_PAD = 0.07  # of an axis, on each side of what it must hold
_POINTS = 120  # of a density
_BINS = 2048
_BEYOND = 1.6  # times the slower p95, where the axis of densities ends
_NICE = (1.0, 2.0, 2.5, 5.0)
_TICKS = 5
_TICK_ROOM = 36  # characters of all texts below an axis
_FOREST_ROOM = 26  # the axis of a forest stands between the columns of a table


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from `low` to `high`; `log` where equal steps are equal factors."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is, in percent of the width; what lies outside is at the edge."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)


def scale(values: Sequence[float | None], *, log: bool = False) -> Scale:
    """The axis that holds all values that exist, with room beside them."""
    found = [value for value in values if value is not None and math.isfinite(value) and (value > 0 or not log)]
    low, high = (min(found), max(found)) if found else (1.0, 2.0)
    if log:
        room = _PAD * math.log(high / low) or 0.1
        return Scale(low=low / math.exp(room), high=high * math.exp(room), log=True)
    room = _PAD * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low=low - room, high=high + room)


def ticks(on: Scale, *, signed: bool = False, room: int = _TICK_ROOM) -> list[float]:
    """Round values on an axis: as many as there is room for their texts, and one at least where there is a round one."""
    found: list[float] = []
    for values in _round_values(on):
        if values and (not found or len(values) <= len(found)):
            found = values
        if len(found) <= _TICKS and sum(len(text) + 2 for text in tick_texts(found, signed=signed)) <= room:
            break
    return found


def _round_values(on: Scale) -> Iterator[list[float]]:
    """Round values on an axis, fewer and fewer of them."""
    if on.log and on.high / on.low > 4:
        decades = range(math.floor(math.log10(on.low)), math.ceil(math.log10(on.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            yield [step * 10.0**power for power in decades for step in steps if on.low <= step * 10.0**power <= on.high]
        return
    size = 10.0 ** (math.floor(math.log10(on.high - on.low)) - 1)
    for step in (nice * size * tens for tens in (1, 10) for nice in _NICE):
        first, last = math.ceil(on.low / step - 1e-9), math.floor(on.high / step + 1e-9)
        yield [number * step for number in range(first, last + 1)]


def tick_texts(values: Sequence[float], *, signed: bool = False) -> list[str]:
    """Ticks with as many digits as tell them apart, and a real minus."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=abs(values[0]) if values else 1.0) or 1.0
    if not 1e-7 < step < 1e7:
        return [f"{value:.3g}".replace("-", "−") for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, decimals + 1):
        decimals += 1  # a step of 2.5 of its decimal
    zero = 0.5 * 10**-decimals
    texts = [f"{0.0 if abs(value) < zero else value:,.{decimals}f}" for value in values]
    return [
        ("+" if signed and value >= zero else "") + text.replace("-", "−") for value, text in zip(values, texts, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A threshold: `words` name it in the drawing; `refused` is the side on which the candidate must not be, where known."""

    value: float
    words: str
    refused: Side | None = None


def interval(
    *,
    title: str,
    description: str,
    tone: str,
    point: float | None,
    bounds: Bounds | None,
    limit: Limit | None,
    neutral: float | None,
    signed: bool,
) -> Markup:
    """One interval on its own axis.

    Args:
        tone: the class of its colour.
        bounds: None bounds are infinite; None altogether where the value is exact.
        neutral: the value of "no change", where there is one.
    """
    on = scale([point, *(bounds or ()), limit.value if limit else None, neutral])
    parts = [
        *_ground(on, limit, top=18, bottom=48),
        _line(on.at(neutral), 18, 48, "neutral") if neutral is not None else Markup(),
        _axis(on, 48, signed=signed),
        _label(on, limit, 12) if limit is not None else Markup(),
        *_measured(on, point, bounds, y=33, tone=tone),
    ]
    return _svg(title, description, 66, parts)


def row(
    on: Scale, *, title: str, tone: str, point: float | None, bounds: Bounds | None, limit: Limit | None, neutral: float | None
) -> Markup:
    """One line of a forest, on the axis of all of them."""
    parts = [
        *_ground(on, limit, top=0, bottom=26),
        _line(on.at(neutral), 0, 26, "neutral") if neutral is not None else Markup(),
        *_measured(on, point, bounds, y=13, tone=tone),
    ]
    return _svg(title, "", 26, parts)


def axis(on: Scale, *, signed: bool, limit: Limit | None) -> Markup:
    """The axis of a forest, with the name of its threshold above the ticks."""
    parts = [_label(on, limit, 11) if limit is not None else Markup(), _axis(on, 18, signed=signed, room=_FOREST_ROOM)]
    return _svg("", "", 36, parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Durations of one model, in ms, all above 0, at least one; `marks` are (words, value), as in ("p95", 1.8)."""

    name: str
    tone: str
    values: NDArray[np.float64]
    marks: Sequence[tuple[str, float]]


def densities(samples: Sequence[Sample], *, title: str, description: str) -> Markup:
    """One density per sample, above each other on one logarithmic axis. It ends beyond the marks: a tail of a few runs
    that a busy machine delayed a hundredfold would leave no room for the shape."""
    low = min(float(np.quantile(sample.values, 0.002)) for sample in samples)
    high = max(float(np.quantile(sample.values, 0.95)) for sample in samples) * _BEYOND
    high = min(high, max(float(sample.values.max()) for sample in samples))
    on = scale([low, high], log=True)
    curves = [_density(sample.values, on) for sample in samples]
    tallest = max(float(curve.max()) for curve in curves) or 1.0
    height, parts = 74, []
    for number, (sample, curve) in enumerate(zip(samples, curves, strict=True)):
        top = number * height
        parts.append(_curve(curve / tallest, top + 22, height - 24, sample.tone))
        parts.append(_tag("text", f"name {sample.tone}", {"x": "0", "y": top + 14}, sample.name))
        parts.append(_line(0, top + height - 2, top + height - 2, "base", to=100))
        for level, (words, value) in enumerate(sample.marks):
            x = on.at(value)
            parts.append(_line(x, top + 20 + 14 * level, top + height - 2, f"mark {sample.tone}"))
            # The first goes to the left of its line and the others to the right, so that close ones do not meet.
            anchor, shift = ("end", -5) if (level == 0 and x > 25) or x > 80 else ("start", 5)
            place = {"x": f"{x}%", "y": top + 30 + 14 * level, "dx": shift, "text-anchor": anchor}
            parts.append(_tag("text", "mark", place, f"{words} {value:.3g}"))
    bottom = len(samples) * height + 4
    parts.append(_axis(on, bottom, signed=False))
    return _svg(title, description, bottom + 20, parts)


def shares(parts: Sequence[tuple[str, int]], *, title: str) -> Markup:
    """Counts as parts of one bar; of each its class. What is not 0 is never too thin to see."""
    total = sum(count for _, count in parts) or 1
    widths = [max(100 * count / total, 0.4) if count else 0.0 for _, count in parts]
    drawn, x = [], 0.0
    for (tone, _), width in zip(parts, widths, strict=True):
        place = {"x": f"{100 * x / sum(widths):.2f}%", "y": 0, "width": f"{100 * width / sum(widths):.2f}%", "height": 14}
        drawn.append(_tag("rect", f"share {tone}", place) if width else Markup())
        x += width
    return _svg(title, "", 14, drawn)


def balance(*, lost: int, gained: int, most: int, title: str) -> Markup:
    """Losses to the left and gains to the right of the middle; `most` fills one side."""
    left, right = 50 * lost / max(most, 1), 50 * gained / max(most, 1)
    parts = [
        _tag("rect", "share lost", {"x": f"{50 - left:.2f}%", "y": 3, "width": f"{left:.2f}%", "height": 12}),
        _tag("rect", "share gained", {"x": "50%", "y": 3, "width": f"{right:.2f}%", "height": 12}),
        _line(50, 0, 18, "base"),
    ]
    return _svg(title, "", 18, parts)


def _ground(on: Scale, limit: Limit | None, *, top: int, bottom: int) -> list[Markup]:
    if limit is None:
        return []
    x = on.at(limit.value)
    shade = Markup()
    if limit.refused is not None:
        left, width = (0.0, x) if limit.refused == "below" else (x, 100 - x)
        place = {"x": f"{left:g}%", "y": top, "width": f"{width:g}%", "height": bottom - top}
        shade = _tag("rect", "refused", place)
    return [shade, _line(x, top, bottom, "limit")]


def _measured(on: Scale, point: float | None, bounds: Bounds | None, *, y: int, tone: str) -> list[Markup]:
    parts = []
    if bounds is not None:
        lower, upper = bounds
        left, right = (0.0 if lower is None else on.at(lower)), (100.0 if upper is None else on.at(upper))
        parts.append(_line(left, y, y, f"interval {tone}", to=right))
        for bound, x, tip in ((lower, left, "M1 0l8-5v10z"), (upper, right, "M-1 0l-8-5v10z")):
            if bound is None:
                parts.append(
                    _tag("svg", "", {"x": f"{x:g}%", "y": y, "overflow": "visible"}, _tag("path", f"tip {tone}", {"d": tip}))
                )
            else:
                parts.append(_line(x, y - 5, y + 5, f"cap {tone}"))
    if point is not None and math.isfinite(point):
        parts.append(_tag("circle", f"point {tone}", {"cx": f"{on.at(point):g}%", "cy": y, "r": 4.5}))
    return parts


def _axis(on: Scale, y: int, *, signed: bool, room: int = _TICK_ROOM) -> Markup:
    values = ticks(on, signed=signed, room=room)
    parts = [_line(0, y, y, "base", to=100)]
    for value, text in zip(values, tick_texts(values, signed=signed), strict=True):
        x = on.at(value)
        parts.append(_line(x, y, y + 4, "base"))
        parts.append(_tag("text", "tick", {"x": f"{x:g}%", "y": y + 16, "text-anchor": _anchor(x)}, text))
    return Markup().join(parts)


def _label(on: Scale, limit: Limit, y: int) -> Markup:
    x = on.at(limit.value)
    return _tag("text", "limit", {"x": f"{x:g}%", "y": y, "text-anchor": _anchor(x, within=28)}, limit.words)


def _anchor(x: float, *, within: float = 6) -> str:
    return "start" if x < within else "end" if x > 100 - within else "middle"


def _density(values: NDArray[np.float64], on: Scale) -> NDArray[np.float64]:
    """A Gaussian kernel density of the logarithms at `_POINTS` places of the axis, of bins, so that its cost has a bound."""
    low, high = math.log(on.low), math.log(on.high)
    logs = np.log(values)
    counts, edges = np.histogram(logs, bins=_BINS, range=(low, high))
    quartiles = np.quantile(logs, [0.25, 0.75])
    spread = min(float(logs.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(logs.std())
    # Silverman's rule; no narrower than a reader can see.
    width = max(0.9 * spread * len(logs) ** -0.2, (high - low) / _POINTS)
    places = np.linspace(low, high, _POINTS)
    centres = (edges[:-1] + edges[1:]) / 2
    kernel = np.exp(-0.5 * ((places[:, None] - centres[None, :]) / width) ** 2)
    return np.asarray(kernel @ counts / (len(logs) * width), dtype=np.float64)


def _curve(heights: NDArray[np.float64], top: int, height: int, tone: str) -> Markup:
    points = [f"{100 * number / (len(heights) - 1):.2f} {100 - 100 * at:.1f}" for number, at in enumerate(heights.tolist())]
    line = "M" + "L".join(points)
    stretched = {"x": 0, "y": top, "width": "100%", "height": height, "viewBox": "0 0 100 100", "preserveAspectRatio": "none"}
    area = _tag("path", f"area {tone}", {"d": f"{line}L100 100L0 100z"})
    return _tag("svg", "", stretched, area, _tag("path", f"curve {tone}", {"d": line, "vector-effect": "non-scaling-stroke"}))


def _line(x: float, y1: int, y2: int, name: str, *, to: float | None = None) -> Markup:
    return _tag("line", name, {"x1": f"{x:g}%", "y1": y1, "x2": f"{x if to is None else to:g}%", "y2": y2})


def _svg(title: str, description: str, height: int, parts: Sequence[Markup]) -> Markup:
    """A drawing with a name for those who do not see it; one without a name is said elsewhere and hidden from them."""
    place = {"width": "100%", "height": height}
    if not title:
        return _tag("svg", "plot", place | {"aria-hidden": "true"}, *parts)
    said = [_tag("title", "", {}, title), _tag("desc", "", {}, description) if description else Markup()]
    return _tag("svg", "plot", place | {"role": "img", "aria-label": f"{title}. {description}".strip()}, *said, *parts)


def _tag(name: str, css: str, attributes: Mapping[str, object], *content: str | Markup) -> Markup:
    """An element; whatever is not markup already is escaped."""
    given = {"class": css, **attributes} if css else attributes
    written = Markup().join(Markup(' {}="{}"').format(key, value) for key, value in given.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup().join(content))
