"""Bounds hold their promises: published values, exact enumeration, and laws that no implementation detail may break."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from registry import stats
from registry.stats import Interval

counts = st.integers(0, 300)
alphas = st.floats(0.001, 0.4)


@pytest.mark.parametrize(
    ("successes", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    ids=lambda value: str(value),
)
def test_wilson_gives_the_values_of_newcombe_1998(successes: int, n: int, lower: float, upper: float) -> None:
    found = stats.wilson(successes, n, alpha=0.025)
    assert (round(found.lower, 4), round(found.upper, 4)) == (lower, upper)


def test_mid_p_gives_the_value_of_fagerland_2013() -> None:
    # Airway hyper-responsiveness before and after transplantation: 1 and 7 discordant pairs, two-sided mid-p 0.039.
    assert round(2 * stats.mcnemar_mid_p(7, 1), 3) == 0.039


def test_the_paired_interval_is_the_wider_of_bonett_price_and_tango() -> None:
    # Airway hyper-responsiveness again, n = 21; Fagerland et al. (2014), table IV: Bonett-Price and Tango's score interval.
    found = stats.paired_gain(1, 7, 21, alpha=0.025)
    bonett_price, tango = (-0.508, -0.014), (-0.517, -0.026)
    assert (round(found.lower, 3), round(found.upper, 3)) == (tango[0], -0.013)
    assert found.lower <= min(bonett_price[0], tango[0]) + 5e-4
    assert found.upper >= max(bonett_price[1], tango[1]) - 5e-4


@pytest.mark.parametrize(("n", "share"), [(500, 0.005), (1000, 0.01), (2000, 0.02), (5000, 0.005)])
def test_a_loss_of_the_whole_margin_is_called_small_at_most_as_often_as_alpha_says(n: int, share: float) -> None:
    # All disagreements point one way, where Bonett & Price alone err 6 to 8 %.
    lost = np.arange(int(4 * n * share) + 10)
    small = np.array([stats.paired_gain(0, int(c), n, alpha=0.05).lower >= -share for c in lost])
    assert scipy_stats.binom.pmf(lost, n, share)[small].sum() <= 0.05


def test_clusters_that_hold_one_item_each_change_little() -> None:
    gains = np.repeat([1, -1, 0], [120, 80, 1800])
    effect = stats.design_effect(gains.std() / math.sqrt(1999), gains, np.arange(2000))
    assert (effect.factor, effect.freedom) == (pytest.approx(1.0), 199)
    plain, clustered = (stats.paired_gain(120, 80, 2000, alpha=0.05, effect=one) for one in (None, effect))
    assert clustered.lower == pytest.approx(plain.lower, abs=2e-4)
    assert clustered.upper == pytest.approx(plain.upper, abs=2e-4)


def test_clusters_that_say_nothing_about_the_difference_are_no_degrees_of_freedom() -> None:
    gains = np.zeros(500)
    gains[[3, 4, 12, 47]] = [1, 1, -1, 1]
    assert stats.design_effect(0.01, gains, np.arange(500) // 10).freedom == 2


def test_items_of_which_clusters_hold_ten_equal_ones_count_for_a_tenth() -> None:
    effect = stats.DesignEffect(10.0, 10_000)
    few, many = stats.paired_gain(6, 2, 50, alpha=0.05), stats.paired_gain(60, 20, 500, alpha=0.05, effect=effect)
    assert many.lower == pytest.approx(few.lower, abs=1e-4)
    assert stats.wilson(450, 500, alpha=0.05, effect=effect).lower == pytest.approx(
        stats.wilson(45, 50, alpha=0.05).lower, abs=1e-4
    )


def test_clusters_that_never_vary_count_as_one_item_each() -> None:
    assert stats.design_effect(0.0, np.zeros(500), np.arange(500) // 25).factor == 25


def test_all_looks_together_spend_alpha_and_no_more() -> None:
    spent = [stats.spent_alpha(0.05, look) for look in range(1, 20_001)]
    assert spent[0] == pytest.approx(0.05 * 0.6079, abs=1e-4)
    assert 0.04999 < sum(spent) < 0.05


@settings(deadline=None)
@given(gained=counts, lost=counts, agreed=counts, alpha=alphas)
def test_swapping_the_models_mirrors_the_paired_interval(gained: int, lost: int, agreed: int, alpha: float) -> None:
    n = gained + lost + agreed + 1
    there, back = stats.paired_gain(gained, lost, n, alpha=alpha), stats.paired_gain(lost, gained, n, alpha=alpha)
    assert there == Interval(-back.upper, -back.lower)


@settings(deadline=None)
@given(gained=counts, lost=counts)
def test_swapping_the_models_turns_mid_p_around(gained: int, lost: int) -> None:
    assert stats.mcnemar_mid_p(gained, lost) + stats.mcnemar_mid_p(lost, gained) == pytest.approx(1)


@settings(deadline=None)
@given(gained=counts, lost=counts, agreed=counts, alpha=alphas)
def test_the_paired_p_value_of_the_bound_is_alpha(gained: int, lost: int, agreed: int, alpha: float) -> None:
    n = gained + lost + agreed + 1
    bound = stats.paired_gain(gained, lost, n, alpha=alpha).upper
    if bound < 1:
        assert stats.paired_loss_p(gained, lost, n, margin=-bound) == pytest.approx(alpha)


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_an_equal_model_is_called_better_at_most_as_often_as_alpha_says(n: int, share: float) -> None:
    found = 0.0
    for disagreements in range(n + 1):
        gained = np.arange(disagreements + 1)
        better = [stats.paired_gain(int(b), disagreements - int(b), n, alpha=0.05).lower > 0 for b in gained]
        found += (
            scipy_stats.binom.pmf(disagreements, n, share) * scipy_stats.binom.pmf(gained, disagreements, 0.5)[better].sum()
        )
    assert found <= 0.055  # an approximate interval: its exact size exceeds alpha a little for some n


def test_needed_items_is_the_rule_of_the_design() -> None:
    # (2.49 · sd / effect)²: what 80 % of gates at alpha = 5 % can see.
    assert stats.needed_items(0.0025, 0.1, alpha=0.05) == math.ceil((2.4865 * 0.1 / 0.0025) ** 2)
    assert stats.smallest_visible(0.1, 9893, alpha=0.05) == pytest.approx(0.0025, abs=1e-6)


@pytest.mark.parametrize("effect", [0.0, -0.01, math.nan])
def test_no_number_of_items_shows_an_effect_that_is_not_there(effect: float) -> None:
    assert stats.needed_items(effect, 0.1, alpha=0.05) is None


@pytest.mark.parametrize(("proportion", "bound"), [(0.98, 0.97), (0.9, 0.8), (1.0, 0.95)])
def test_the_needed_items_put_wilson_s_bound_where_it_was_wanted(proportion: float, bound: float) -> None:
    n = stats.needed_for_proportion(proportion, bound, alpha=0.05)
    assert n is not None
    outcomes = np.arange(n + 1)
    enough = np.array([stats.wilson(int(k), n, alpha=0.05).lower >= bound for k in outcomes])
    chance = scipy_stats.binom.pmf(outcomes, n, proportion)[enough].sum()
    assert chance == pytest.approx(0.8, abs=0.05) or proportion == 1.0
    assert stats.needed_for_proportion(bound, proportion, alpha=0.05) is None


def test_holm_stops_at_the_first_that_is_not_rejected() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    levels = stats.holm(p_values, alpha=0.05)
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert [p < level for p, level in zip(p_values, levels, strict=True)] == [True, False, False, True]


@settings(deadline=None)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_no_less_than_bonferroni_and_no_more_than_no_correction(p_values: list[float]) -> None:
    rejected = [p < level for p, level in zip(p_values, stats.holm(p_values, alpha=0.05), strict=True)]
    assert all(was or p >= 0.05 / len(p_values) for was, p in zip(rejected, p_values, strict=True))
    assert all(p < 0.05 for was, p in zip(rejected, p_values, strict=True) if was)


@pytest.mark.parametrize(("quantile", "runs"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_the_fewest_runs_that_bound_a_quantile(quantile: float, runs: int) -> None:
    assert stats.fewest_runs(quantile) == runs
    assert 1 - quantile**runs >= 0.95 > 1 - quantile ** (runs - 1)


def test_blocks_have_student_s_interval() -> None:
    values = np.array([0.1, 0.2, 0.15, 0.05, 0.12])
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    found = stats.block_mean(values, alpha=0.05)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
