"""Resamples depend on the ids of the items alone, and replicates of two models pair only where they are of the same ones."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import means
from registry.replicates import SEED, Draws, items_digest
from registry.resampling import Unstable
from registry.spreads import spread

IDS = st.lists(st.text("abcé/0", min_size=1, max_size=5), min_size=2, max_size=30, unique=True)


@given(ids=IDS, seed=st.integers(0, 99))
def test_the_order_of_a_file_draws_no_other_items(ids: list[str], seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(len(ids))
    one, other = np.array(ids, dtype=object), np.array(ids, dtype=object)[rows]
    first, second = Draws(one), Draws(other)
    assert first.drawn == second.drawn
    assert all((one[a] == other[b]).all() for a, b in islice(zip(first, second, strict=False), 5))


@given(groups=st.lists(st.integers(0, 5), min_size=2, max_size=40), seed=st.integers(0, 99))
def test_clusters_are_drawn_whole(groups: list[int], seed: int) -> None:
    ids, clusters = np.arange(len(groups)), np.array(groups)
    sizes = np.bincount(clusters, minlength=6)
    draws = Draws(ids, clusters=clusters, cluster="patient", seed=seed)
    for rows in islice(draws, 5):
        times = np.bincount(rows, minlength=len(ids))
        assert all(len({times[k] for k in np.flatnonzero(clusters == group)}) == 1 for group in set(groups))
        assert sum(np.bincount(clusters[rows], minlength=6) // np.maximum(sizes, 1)) == draws.units == len(set(groups))


def test_other_items_other_clusters_or_another_seed_are_other_draws() -> None:
    ids = np.array([f"test/{at}" for at in range(20)], dtype=object)
    plain = Draws(ids).drawn
    others = {
        "other items": Draws(ids[1:]).drawn,
        "by items, the other by site": Draws(ids, clusters=np.arange(20) % 4, cluster="site").drawn,
        "seeds 0 and 1": Draws(ids, seed=1).drawn,
    }
    assert plain.unlike(Draws(ids[::-1]).drawn) is None
    assert all(words in str(plain.unlike(other)) for words, other in others.items())


def test_a_verdict_names_the_seed_that_was_used() -> None:
    assert SEED == means.SEED


def test_a_resample_is_as_likely_to_hold_any_item() -> None:
    times = np.zeros(20)
    for rows in islice(Draws(np.arange(20)), 2000):
        times += np.bincount(rows, minlength=20)
    assert abs(times / 2000 - 1).max() < 0.1


def test_the_error_of_a_mean_is_the_one_that_everybody_knows() -> None:
    values = np.random.default_rng(0).normal(size=100)
    found = np.array([values[rows].mean() for rows in islice(Draws(np.arange(100)), 4000)])
    assert spread(values.mean(), found, units=100).error == pytest.approx(values.std(ddof=1) / 10, rel=0.04)


def test_bounds_and_p_value_agree() -> None:
    found = spread(0.5, np.random.default_rng(0).normal(0.5, 0.1, 1000), units=50)
    for alpha in (0.001, 0.05, 0.3):
        upper = found.student(alpha).upper
        assert found.loss_p(-upper - 1e-9) < alpha < found.loss_p(-upper + 1e-9)


def test_a_level_with_a_handful_of_replicates_is_bounded_by_t_alone() -> None:
    found = spread(0.5, np.random.default_rng(0).normal(0.5, 0.1, 1000), units=50)
    assert found.bounds(0.001).interval == found.student(0.001)
    assert "percentiles" in found.bounds(0.05).method


@pytest.mark.parametrize(
    ("values", "message"),
    [([np.nan] * 11 + [0.5] * 989, "11 of 1,000 resamples have no value"), ([0.5] * 199, "199 resamples, 200 are needed")],
    ids=["lost", "few"],
)
def test_too_few_values_are_no_spread(values: list[float], message: str) -> None:
    with pytest.raises(Unstable, match=message):
        spread(0.5, np.array(values), units=50)


def test_ids_are_the_same_in_any_order_and_no_others_are() -> None:
    ids = np.array([b"a", b"bc"])
    assert items_digest(ids) == items_digest(ids[::-1]) != items_digest(np.array([b"ab", b"c"]))
