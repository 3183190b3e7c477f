"""Parallel coordinates: the geometry tells the truth, and what was logged can do no more than be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from registry.coordinates import Line, parallel

NASTY = "<script>alert('x')</script>"


def drawn(axes: Sequence[str], *rows: tuple[Sequence[Any], float | None], maximize: bool = True) -> ElementTree.Element:
    lines = [Line(name=f"run-{number}", cells=cells, value=value) for number, (cells, value) in enumerate(rows)]
    return ElementTree.fromstring(str(parallel(axes, lines, metric="accuracy", maximize=maximize)))


def strokes(svg: ElementTree.Element) -> dict[str, str]:
    """The class of each line, by the run it is."""
    return {str(path.findtext("title")).partition(":")[0]: path.get("class", "") for path in svg.findall("path")}


def ticks(svg: ElementTree.Element, axis: int) -> list[str]:
    group = svg.findall("g")[axis]
    return [text.text or "" for text in group.findall("text") if "tick" in (text.get("class") or "")]


def heights(svg: ElementTree.Element, run: str) -> list[float]:
    """Where a line crosses the axes."""
    path = next(path for path in svg.findall("path") if str(path.findtext("title")).startswith(f"{run}:"))
    numbers = [[float(n) for n in part.split()] for part in re.split("[MC]", path.get("d", ""))[1:]]
    return [part[-1] for part in numbers]


@pytest.mark.parametrize(("maximize", "best"), [(True, "run-1"), (False, "run-0")])
def test_the_best_line_is_marked_and_drawn_last_and_the_rest_by_how_good_they_are(maximize: bool, best: str) -> None:
    svg = drawn(["a", "b"], ([1, 1], 0.2), ([2, 2], 0.9), ([3, 3], 0.5), ([4, 4], None), maximize=maximize)
    classes = strokes(svg)
    assert (classes[best], list(classes)[-1], next(iter(classes))) == ("best", best, "run-3")
    assert classes["run-3"] == "none"
    assert {classes[name] for name in ("run-0", "run-1") if name != best} == {"t0"}


def test_higher_values_lie_higher_and_equal_values_at_one_place() -> None:
    svg = drawn(["lr", "width"], ([0.1, 4], 0.5), ([0.3, 4], 0.9), ([0.2, 4], 0.7))
    low, high, middle = (heights(svg, f"run-{number}") for number in range(3))
    assert low[0] > middle[0] > high[0]
    assert middle[0] == pytest.approx((low[0] + high[0]) / 2, abs=0.1)
    assert low[1] == middle[1] == high[1]


def test_an_axis_over_factors_is_logarithmic_and_says_so() -> None:
    svg = drawn(["lr"], ([1e-4], 0.1), ([1e-2], 0.2), ([1.0], 0.3))
    below, between, above = (heights(svg, f"run-{number}")[0] for number in range(3))
    assert between == pytest.approx((below + above) / 2, abs=0.1)
    assert [text.text for text in svg.findall("g")[0].findall("text") if text.get("class") == "scale"] == ["log"]


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ([4, 8, 16], ["4", "8", "16"]),
        (["adam", "sgd", True], ["adam", "sgd", "true"]),
        ([n / 20 for n in range(21)], ["0", "0.25", "0.5", "0.75", "1"]),
        ([7, 7], ["7"]),
    ],
    ids=["few values", "kinds", "a range", "one value"],
)
def test_an_axis_names_what_was_tried(cells: list[Any], named: list[str]) -> None:
    assert ticks(drawn(["p"], *(([cell], 0.5 + n / 100) for n, cell in enumerate(cells))), 0) == named


def test_a_line_skips_an_axis_it_has_no_value_on() -> None:
    svg = drawn(["a", "b"], ([1, None], 0.5), ([2, 3], 0.6))
    assert (len(heights(svg, "run-0")), len(heights(svg, "run-1"))) == (2, 3)


def test_names_and_values_are_text_and_nothing_else() -> None:
    svg = drawn([NASTY], ([NASTY], 0.5), ([10**400], 0.5), ([float("nan")], 0.1), ([[1, {"a": 2}]], 0.2))
    assert not list(svg.iter("script"))
    assert NASTY in "".join(svg.itertext())


@pytest.mark.parametrize("values", [(1e308, -1e308), (5e-324, 1e308), (0.0, 0.0)], ids=["overflow", "denormal", "zero"])
def test_extreme_numbers_are_drawn(values: tuple[float, float]) -> None:
    svg = drawn(["p"], *(([value], value) for value in values))
    places = [height for run in ("run-0", "run-1") for height in heights(svg, run)]
    assert all(0 <= place <= 340 for place in places)


def test_nothing_is_drawn_of_nothing() -> None:
    assert (parallel([], [], metric="m", maximize=True), parallel(["a"], [], metric="m", maximize=True)) == ("", "")
