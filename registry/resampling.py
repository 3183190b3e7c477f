"""Bounds of a corpus metric, or of the difference of two on the same items, by resampling the items or their clusters.

`Statistic` is anything computed from weighted items. Where recomputing it a few thousand times is cheap it is (B = 2,000,
seed recorded); beyond, it is linearised: the mean of its influences is what varies, with the bounds of any other mean
(`registry.means`). As there, every bound is the wider of two. Items that no metric can tell apart, because it looks only at
a few distinct values (F1 at the cells of the confusion matrix), are drawn as counts of cells: exactly the same bootstrap,
at the price of the cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from registry import means
from registry.means import SEED, MeanInterval, Units
from registry.stats import Interval, wider

RESAMPLES = 2_000
# Above it, 2,000 recomputations take more than about a second.
MOST_WORK = 100_000
_CHUNK = 1 << 21  # weights held at once
# Fewer replicates than these in a tail are extremes, not a quantile.
_FEWEST_IN_TAIL = 10
_MOST_LOST = 0.01

Rows = NDArray[np.float64]


class Unstable(ValueError):
    """Too many resamples have no value, because a class is left without an item; the text says how many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistic:
    """A number computed from items.

    Attributes:
        of: its values for weights of shape (resamples, units).
        influence: per item, in the number's own unit; the mean is 0.
        counts: how many items each unit of `of` stands for (cells); None where a unit is an item.
        passes: the cost of `of`, in passes over the units.
    """

    value: float
    of: Callable[[Rows], Rows]
    influence: Rows
    counts: NDArray[np.int64] | None = None
    passes: int = 1


def linear(statistic: Statistic, clusters: NDArray[np.intp] | None) -> Units:
    """The statistic as a mean: of its value plus each item's influence."""
    return means.units(statistic.value + statistic.influence, clusters)


def interval(statistic: Statistic, *, alpha: float, clusters: NDArray[np.intp] | None = None, seed: int = SEED) -> MeanInterval:
    """Bounds of the statistic.

    Args:
        alpha: error rate of each bound, a fraction.
        clusters: the number of each item's cluster, from 0 without gaps; None when items are independent.
    Raises:
        Unstable: see there.
    """
    flat = linear(statistic, clusters)
    what = " over clusters" if clusters is not None else ""
    counts = statistic.counts if clusters is None else None
    size = len(counts) if counts is not None else len(statistic.influence)
    too_much = size * statistic.passes > MOST_WORK or alpha * RESAMPLES < _FEWEST_IN_TAIL
    if too_much or (clusters is not None and statistic.counts is not None):
        found = means.closed_interval(flat, alpha=alpha)
        return MeanInterval(interval=found, method=f"linearised, wider of t and Hall's skewness-corrected t{what}")
    values = replicates(statistic, clusters=clusters, seed=seed)
    method = f"wider of linearised t and BCa bootstrap{what}, {len(values):,} resamples, seed {seed}"
    if flat.error == 0:
        bounds = Interval(statistic.value, statistic.value)
    else:
        acceleration = flat.skewness / (6 * flat.count**0.5)  # of the influences (Efron 1987)
        percentiles = corrected(values, statistic.value, acceleration=acceleration, alpha=alpha)
        bounds = wider(means.student(flat, alpha=alpha), percentiles)
    return MeanInterval(interval=bounds, method=method, resamples=len(values))


def replicates(
    statistic: Statistic, *, clusters: NDArray[np.intp] | None, seed: int = SEED, resamples: int = RESAMPLES
) -> Rows:
    """The statistic's values on resamples, those that exist, ascending.

    Raises:
        Unstable: see there.
    """
    random = np.random.default_rng(seed)
    n = len(statistic.influence)
    width = n if statistic.counts is None else len(statistic.counts)
    drawn = n if clusters is None else int(clusters.max()) + 1
    rows = max(1, _CHUNK // max(width, drawn))
    values = []
    for start in range(0, resamples, rows):
        some = min(rows, resamples - start)
        if statistic.counts is not None:
            weights = random.multinomial(n, statistic.counts / n, size=some).astype(np.float64)
        else:
            weights = _drawn(random, some, drawn)
            weights = weights if clusters is None else weights[:, clusters]
        values.append(statistic.of(weights))
    found = np.sort(np.concatenate(values))
    found = found[np.isfinite(found)]
    lost = resamples - len(found)
    if lost > _MOST_LOST * resamples:
        raise Unstable(f"{lost:,} of {resamples:,} resamples have no value, too few items of some class")
    return found


def _drawn(random: np.random.Generator, rows: int, size: int) -> Rows:
    """How often each of `size` units is drawn, in `rows` draws of `size` with replacement."""
    which = random.integers(0, size, size=(rows, size), dtype=np.int64) + size * np.arange(rows)[:, np.newaxis]
    return np.bincount(which.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def corrected(values: Rows, value: float, *, acceleration: float, alpha: float) -> Interval:
    """Bias-corrected and accelerated bounds.

    Args:
        values: of the resamples, ascending.
        value: of the items themselves.
    """
    count = len(values)
    below = (float((values < value).sum()) + float((values == value).sum()) / 2) / count
    bias = float(stats.norm.ppf(min(max(below, 1 / count), 1 - 1 / count)))

    def rank(bias: float, acceleration: float) -> int:
        shifted = bias + float(stats.norm.ppf(alpha))
        share = float(stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
        return int(np.clip(np.floor(share * (count + 1)), 1, count))

    # Counted from either end alike, so that swapping the models mirrors the interval.
    low, high = rank(bias, acceleration), count + 1 - rank(-bias, -acceleration)
    return Interval(float(values[low - 1]), float(values[high - 1]))


def cells(*columns: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The row of one item of each distinct combination of classes, and how often it occurs; in the classes' order."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        code = code * (int(column.max(initial=0)) + 1) + column
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return first, counts
