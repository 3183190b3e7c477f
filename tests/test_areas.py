"""Bounds of areas under curves: their laws, and how often they err where the rarer class has few items."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import means
from registry.areas import Area, Sum
from registry.corpus import FORMULAS

ALPHA = 0.05


def scores(random: np.random.Generator, label: np.ndarray, skill: float, common: np.ndarray) -> np.ndarray:
    noise = np.sqrt(0.8) * common + np.sqrt(0.2) * random.normal(size=len(label))
    positive = 1 / (1 + np.exp(-(noise + skill * label)))
    return np.stack([1 - positive, positive], axis=1)


def area(label: np.ndarray, of: np.ndarray, *, clusters: np.ndarray | None = None, name: str = "roc_auc") -> Area:
    prepared = FORMULAS[name].prepare({"label": label, "scores": of})
    assert prepared.scarce is not None
    return Area(means.units(prepared.value(len(label)) + prepared.influence(), clusters), prepared.scarce)


def pair(seed: int, *, n: int = 300, rare: int = 30, skills: tuple[float, float] = (2.0, 2.2)) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    label = (np.arange(n) < rare).astype(int)
    common = random.normal(size=n)
    return label, *(scores(random, label, skill, common) for skill in skills)


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
def test_swapping_the_models_mirrors_the_interval(name: str) -> None:
    label, one, other = pair(1)
    a, b = area(label, one, name=name), area(label, other, name=name)
    found, mirrored = Sum([(1, a), (-1, b)]).interval(ALPHA), Sum([(1, b), (-1, a)]).interval(ALPHA)
    assert (mirrored.lower, mirrored.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-12)


def test_the_order_of_the_items_changes_nothing() -> None:
    label, one, other = pair(2)
    order = np.random.default_rng(0).permutation(len(label))
    found = Sum([(1, area(label, one)), (-1, area(label, other))]).interval(ALPHA)
    again = Sum([(1, area(label[order], one[order])), (-1, area(label[order], other[order]))]).interval(ALPHA)
    assert (again.lower, again.upper) == pytest.approx((found.lower, found.upper), abs=1e-12)


def test_more_items_of_the_same_narrow_the_interval_unless_they_are_clusters_of_the_old_ones() -> None:
    label, one, other = pair(3)
    found = Sum([(1, area(label, one)), (-1, area(label, other))]).interval(ALPHA)
    thrice = [np.tile(label, 3), np.tile(one, (3, 1)), np.tile(other, (3, 1))]
    patients = np.tile(np.arange(len(label)), 3)

    def width(clusters: np.ndarray | None) -> float:
        sides = [area(thrice[0], side, clusters=clusters) for side in thrice[1:]]
        got = Sum([(1, sides[0]), (-1, sides[1])]).interval(ALPHA)
        return got.upper - got.lower

    assert width(None) < 0.7 * (found.upper - found.lower)
    assert width(patients) == pytest.approx(found.upper - found.lower, rel=0.02)


def test_a_model_differs_from_itself_by_nothing() -> None:
    label, one, _ = pair(4)
    found = Sum([(1, area(label, one)), (-1, area(label, one))]).interval(ALPHA)
    assert (found.lower, found.upper) == pytest.approx((0, 0), abs=1e-7)


def test_a_perfect_area_on_few_items_is_not_certain() -> None:
    label = (np.arange(300) < 30).astype(int)
    perfect = np.stack([1.0 - label, label * 1.0], axis=1)
    found = Sum([(1, area(label, perfect))]).interval(ALPHA)
    assert 0.8 < found.lower < 0.95
    assert found.upper == 1
    both = Sum([(1, area(label, perfect)), (-1, area(label, perfect))]).interval(ALPHA)
    assert both.lower < -0.01 < 0.01 < both.upper


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), alpha=st.floats(1e-6, 0.45), margin=st.floats(-0.1, 0.1))
def test_a_loss_is_significant_exactly_when_the_upper_bound_is_below_the_margin(seed: int, alpha: float, margin: float) -> None:
    label, one, other = pair(seed, n=60, rare=8, skills=(1.0, 2.0))
    tested = Sum([(1, area(label, one)), (-1, area(label, other))])
    p, upper = tested.loss_p(margin), tested.interval(alpha).upper
    if abs(upper + margin) > 1e-9:
        assert (p < alpha) == (upper < -margin)


@pytest.mark.parametrize("skills", [pytest.param((1.5, 1.5), id="equal"), pytest.param((1.2, 1.5), id="worse")])
def test_bounds_err_as_often_as_they_say_with_thirty_items_of_the_rarer_class(skills: tuple[float, float]) -> None:
    """At the margin, the worst case; t errs some 10 % there. The normal scores have a known area: Phi(skill / sqrt 2)."""
    from scipy.stats import norm

    true = float(norm.cdf(skills[0] / 2**0.5) - norm.cdf(skills[1] / 2**0.5))
    pairs, wrong = 800, 0
    for seed in range(pairs):
        label, one, other = pair(seed, n=200, rare=30, skills=skills)
        wrong += Sum([(1, area(label, one)), (-1, area(label, other))]).interval(ALPHA).lower > true
    assert wrong / pairs < ALPHA + 2.6 * (ALPHA * (1 - ALPHA) / pairs) ** 0.5
