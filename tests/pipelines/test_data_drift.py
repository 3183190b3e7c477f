"""Drift is called large when it is, and not when chance or the number of features explains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import publish, write_images, write_text
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.data import drift
from pipelines.data.comparison import diff
from pipelines.data.comparison_page import histogram, page
from pipelines.data.drift import Bin, Drifts, drifts, psi
from pipelines.data.options import Options
from pipelines.data.reading import Dataset, inspect, load


def table(folder: Path, columns: dict[str, np.ndarray], *, split: str = "train") -> Dataset:
    """A dataset whose test split is always the same few rows."""
    names = list(columns)
    for name, rows in ((split, range(len(columns[names[0]]))), ("test", range(4))):
        lines = [",".join([*(str(columns[c][k]) for c in names), "ab"[k % 2]]) for k in rows]
        write_text(folder / "t" / f"{name}.csv", "\n".join([",".join([*names, "y"]), *lines]) + "\n")
    return load(publish(inspect(folder / "t", Options(name="t")), folder / "artifact"))


def of(found: Drifts, feature: str, split: str = "train") -> drift.Drift:
    return next(one for one in found.features if (one.feature, one.split) == (feature, split))


NORMAL = np.random.default_rng(0).normal(size=2_000)
OTHER = np.random.default_rng(1).normal(size=2_000)


def test_a_shifted_column_is_large_and_the_others_are_not(tmp_path: Path) -> None:
    before = table(tmp_path / "1", {"x": NORMAL, "same": OTHER})
    after = table(tmp_path / "2", {"x": NORMAL + 1, "same": OTHER[::-1]})
    found = drifts(before, after)
    assert [(one.split, one.feature) for one in found.features if one.size == "large"] == [("train", "x")]
    shifted = of(found, "x")
    assert shifted.distance == pytest.approx(1 / NORMAL.std(), rel=1e-3), "a shift by one, in standard deviations"
    assert shifted.statistic == pytest.approx(0.383, abs=0.04), "2Φ(1/2) - 1, for two normal distributions one apart"
    assert (of(found, "same").psi, of(found, "same").p) == (pytest.approx(0, abs=1e-9), 1)


def test_chance_among_many_features_is_not_called_drift(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    sides = [{f"f{k}": random.normal(size=60) for k in range(60)} for _ in range(2)]
    found = drifts(table(tmp_path / "1", sides[0]), table(tmp_path / "2", sides[1]))
    assert max(one.psi for one in found.features if one.split == "train") > drift.LARGE, "as chance makes them in 60 rows"
    assert {one.size for one in found.features} == {"small"}


def test_a_tiny_shift_of_many_items_is_significant_and_small(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    before, after = (table(tmp_path / n, {"x": random.normal(size=20_000) + add}) for n, add in (("1", 0), ("2", 0.1)))
    found = of(drifts(before, after), "x")
    assert found.p < 1e-6
    assert (found.size, found.psi < 0.1) == ("small", True)


def test_values_that_went_missing_are_drift(tmp_path: Path) -> None:
    gaps = np.where(np.arange(2_000) % 3 == 0, "", NORMAL.astype(str))
    found = of(drifts(table(tmp_path / "1", {"x": NORMAL}), table(tmp_path / "2", {"x": gaps})), "x")
    assert found.missing == (0, pytest.approx(1 / 3, abs=1e-3))
    assert (found.size, found.p < 1e-9) == ("large", True)


def test_categories_are_compared_by_name_whatever_their_codes(tmp_path: Path) -> None:
    before = table(tmp_path / "1", {"c": np.array(["b", "c"] * 300)})
    after = table(tmp_path / "2", {"c": np.array(["a", "b", "c"] * 200)})
    found = of(drifts(before, after), "c")
    assert {one.name: (one.before, one.after) for one in found.bins} == {
        "a": (0, pytest.approx(1 / 3)),
        "b": (0.5, pytest.approx(1 / 3)),
        "c": (0.5, pytest.approx(1 / 3)),
    }
    assert found.size == "large"
    assert found.statistic == pytest.approx(np.sqrt(200 / 1000), abs=1e-3), "Cramér's V: chi-squared is 240 of 1,200 items"


def test_a_constant_that_became_another_is_found(tmp_path: Path) -> None:
    sides = [table(tmp_path / str(value), {"x": np.full(50, value), "z": np.arange(50)}) for value in (1.5, 2.5)]
    found = of(drifts(*sides), "x")
    assert (found.size, found.distance, found.statistic) == ("large", None, 1)
    assert [(one.name, one.before, one.after) for one in found.bins] == [("1.5", 1, 0), ("others", 0, 1)]


def test_columns_of_one_version_only_are_named(tmp_path: Path) -> None:
    sides = ({"x": NORMAL[:20], "old": NORMAL[:20]}, {"x": NORMAL[:20], "new": NORMAL[:20]})
    before, after = (table(tmp_path / str(number), columns) for number, columns in enumerate(sides))
    found = drifts(before, after)
    assert (found.added, found.removed) == (("new",), ("old",))
    assert (diff(before, after).unchanged, bool(diff(before, after))) == (24, False), "rows are known by the common columns"


def test_darker_and_flatter_images_are_seen(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    sides = []
    for name, factor in (("1", 1.0), ("2", 0.5)):
        pixels = [(random.integers(0, 256, (6, 6, 3)) * factor).astype(np.uint8) for _ in range(60)]
        files = {f"{'test' if k % 3 == 0 else 'train'}/{k % 2}/{k:02d}.png": image for k, image in enumerate(pixels)}
        sides.append(load(publish(inspect(write_images(tmp_path / name / "pets", files)), tmp_path / name / "artifact")))
    found = drifts(*sides)
    assert {one.feature for one in found.features if one.size == "large"} == {"brightness", "contrast", "red", "green", "blue"}
    assert of(found, "brightness").before == pytest.approx(127.5, abs=4)
    assert of(found, "(class)").size == "small"


def test_of_a_large_split_some_items_are_compared_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SAMPLE", 100)
    found = drifts(*(table(tmp_path / str(n), {"x": side}) for n, side in enumerate((NORMAL, OTHER[:50]))))
    assert found.sampled == {"train": (100, 50)}


COUNTS = arrays(np.float64, 6, elements=st.integers(0, 1000).map(float)).filter(lambda counts: counts.sum() > 0)


@given(a=COUNTS, b=COUNTS, times=st.integers(1, 9))
def test_psi_is_a_distance(a: np.ndarray, b: np.ndarray, times: int) -> None:
    assert psi(a, a) == pytest.approx(0)
    assert psi(a, b) == pytest.approx(psi(b, a))
    assert psi(a, b) >= 0
    full = a + 1
    assert psi(full, times * full) == pytest.approx(0), "sizes do not matter, shares do"


def test_psi_is_that_of_the_textbook() -> None:
    assert psi(np.array([50.0, 50]), np.array([70.0, 30])) == pytest.approx(0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5))


def test_the_page_escapes_names_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    columns = {f"<b>{k}": NORMAL[:30] for k in range(35)}
    sides = [table(tmp_path / str(n), {name: values + n for name, values in columns.items()}) for n in range(2)]
    html = page("a<i>:v0", "b:v1", diff(*sides), drifts(*sides))
    assert "<b>" not in html
    assert "a&lt;i&gt;:v0 → b:v1" in html
    assert "and 12 more features with less drift" in html, "two splits of 35 columns and a class are 72, 60 are shown"


def test_a_histogram_shows_both_sides_of_each_bin() -> None:
    drawn = histogram([Bin("low", 0.25, 0.0), Bin("high", 0.75, 1.0)])
    assert drawn.count("<rect") == 4
    assert "<title>low: 25.0% before, 0.0% after</title>" in drawn
