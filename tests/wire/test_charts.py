"""What the pages draw and write without asking anybody: charts, numbers, sizes, times, console lines."""

from __future__ import annotations

import math
from typing import Any

import pytest

from registry.server.ui import charts, formats
from registry.server.ui.charts import Point, Series

NAN, INF = math.nan, math.inf


def series(*points: Point) -> Series:
    return Series(key="k", count=len(points), points=points)


@pytest.mark.parametrize(("points", "path", "dots"), [
    pytest.param([(0, 0), (10, 1)], "M4.0 116.0L316.0 4.0", [], id="a line"),
    pytest.param([(0, 0), (5, NAN), (10, 1), (15, 1)], "M212.0 4.0L316.0 4.0", [(4.0, 116.0)], id="a gap and a lonely point"),
    pytest.param([(3, 7)], "", [(160.0, 60.0)], id="one point"),
    pytest.param([(0, 7), (1, 7)], "M4.0 60.0L316.0 60.0", [], id="a constant"),
    pytest.param([(0, -1.7e308), (1, 1.7e308)], "M4.0 116.0L316.0 4.0", [], id="an extent that overflows"),
    pytest.param([(0, 1), (1, INF)], "", [(4.0, 60.0)], id="infinity"),
])  # fmt: skip
def test_a_series_is_drawn_to_the_edges_with_gaps_where_it_is_not_finite(points: Any, path: str, dots: list[Point]) -> None:
    drawing = charts.draw(series(*points))
    assert drawing is not None
    assert (drawing.path, list(drawing.dots)) == (path, dots)


@pytest.mark.parametrize("points", [[], [(0, NAN)], [(0, INF), (1, -INF)]], ids=["nothing", "NaN", "infinities"])
def test_what_is_nowhere_finite_is_not_drawn(points: list[Point]) -> None:
    assert charts.draw(series(*points)) is None


def test_thinning_keeps_the_spike_and_the_ends() -> None:
    points = [(step, 1000.0 if step == 54_321 else step % 7 + 1.0) for step in range(100_000)]
    kept = charts.thinned(points)
    assert (kept[0], kept[-1], (54_321, 1000.0) in kept, len(kept) <= 330) == (points[0], points[-1], True, True)
    assert kept == sorted(kept)


def test_thinning_keeps_a_stretch_of_nan_as_a_gap() -> None:
    points = [(step, NAN if 40_000 <= step < 60_000 else 1.0) for step in range(100_000)]
    drawing = charts.draw(series(*charts.thinned(points)))
    assert drawing is not None
    assert drawing.path.count("M") == 2


@pytest.mark.parametrize(("written", "expected"), [
    (formats.number(0.1 + 0.2), "0.3"),
    (formats.number(1234567.0), "1.23457e+06"),
    (formats.number(True), "true"),
    (formats.number(None), ""),
    (formats.number(10**400), "100000000000…"),
    (formats.number(NAN), "nan"),
    (formats.size(0), "0 B"),
    (formats.size(1023), "1023 B"),
    (formats.size(1024), "1.0 KiB"),
    (formats.size(3 << 40), "3.0 TiB"),
    (formats.count(1234567), "1\u2009234\u2009567"),
    (formats.duration("2026-01-01T00:00:00.9Z", "2026-01-01T00:00:59Z"), "58 s"),
    (formats.duration("2026-01-01T00:00:00Z", "2026-01-01T03:02:01Z"), "3 h 2 min"),
    (formats.duration("2026-01-01T00:00:00Z", "2026-01-04T03:02:01Z"), "3 d 3 h"),
    (formats.duration("never", ""), ""),
    (formats.console("10%\r100%\n"), "100%"),
    (formats.console("\x1b[1;31mred\x1b[0m \x1b]0;title\x07bell\x07"), "red bell"),
    (formats.text({"_type": "table-file", "path": "media/t.json", "sha256": "…"}), "table-file media/t.json"),
    (formats.text("x" * 1000), "x" * 400 + "…"),
    (formats.flat({"b": {"c": 1, "a": {}}, "a": [1]}), [("a", [1]), ("b.a", {}), ("b.c", 1)]),
    (formats.parsed("[1]"), {}),
    (formats.parsed("{"), {}),
])  # fmt: skip
def test_values_are_written_for_people(written: Any, expected: Any) -> None:
    assert written == expected
