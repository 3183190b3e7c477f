"""Confidence bounds for promotions: what counts on the same items allow us to say, and how many items would say more.

Every bound is one-sided at `alpha`, so an `Interval` is the two-sided interval at 1 - 2·alpha: a gate asks one side at a
time. Distributions and Wilson's interval are scipy's. What scipy lacks is here with its source: the paired intervals of
Bonett & Price and of Tango, the mid-p form of McNemar's test, Holm's correction (scipy has only false discovery rates) and
the spending of alpha. Two paired intervals, because each errs where the other does not: where nearly all disagreements
point one way Bonett & Price err up to 9 % at a nominal 5 %, where they point both ways Tango errs up to 6 %; the wider of
the two stays at 6 % or below in `benchmarks/gates`, at no price where there are many. Clustered items (patients, users)
count for as many independent ones as their design effect leaves (Rao & Scott 1992). Means are in `registry.means`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

POWER = 0.8  # `needed` numbers are for four chances in five of a clear answer


@dataclass(frozen=True)
class Interval:
    """Lower and upper bound, each one-sided; an infinite bound means that the data cannot bound this side."""

    lower: float
    upper: float


def wider(one: Interval, other: Interval) -> Interval:
    """The interval of the more cautious bound on each side."""
    return Interval(min(one.lower, other.lower), max(one.upper, other.upper))


def wilson(successes: int, n: int, *, alpha: float, effect: DesignEffect | None = None) -> Interval:
    """Bounds of a proportion.

    Args:
        successes: 0 to n, with n >= 1.
        alpha: error rate of each bound, a fraction (0.05 = 5 %).
        effect: of clusters; None when items are independent.
    Returns:
        Fractions in [0, 1].
    Source: Wilson (1927), by `scipy.stats.binomtest`; with clusters on the effective counts.
    """
    if effect is None:
        found = stats.binomtest(successes, n).proportion_ci(confidence_level=1 - 2 * alpha, method="wilson")
        return Interval(float(found.low), float(found.high))
    z, share, size = effect.quantile(alpha), successes / n, n / effect.factor
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z * math.sqrt(share * (1 - share) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


@dataclass(frozen=True)
class DesignEffect:
    """How much clusters cost: `factor` clustered items are worth one independent item, known with `freedom` degrees."""

    factor: float
    freedom: int

    def quantile(self, alpha: float) -> float:
        return float(stats.t.isf(alpha, self.freedom))

    def share_above(self, statistic: float) -> float:
        return float(stats.t.sf(statistic, self.freedom))


def design_effect(clustered_error: float, values: NDArray[Any], clusters: NDArray[np.intp]) -> DesignEffect:
    """The variance of a mean over clusters, as a multiple of what independent items would have; 1 at least.

    Its degrees of freedom are of the clusters in which anything but the most frequent value occurs: where only a few of many
    clusters hold all the disagreements, the others say little about how much clusters differ. Counting all of them errs up
    to 10 % at a nominal 5 % there, counting these at most 4 % (`benchmarks/gates`).

    Args:
        clustered_error: the standard error of the mean of `values`, by clusters.
        values: right and wrong, or gains of -1, 0 and 1.
        clusters: the number of each value's cluster.
    """
    n = len(values)
    independent = float(np.var(values)) / max(1, n - 1)
    distinct, counts = np.unique(values, return_counts=True)
    telling = len(np.unique(clusters[values != distinct[counts.argmax()]]))
    # Values that never vary say nothing about how alike clusters are: then a cluster counts as one item.
    factor = clustered_error**2 / independent if independent > 0 else n / (int(clusters.max()) + 1)
    return DesignEffect(max(1.0, factor), max(1, telling - 1))


def paired_gain(gained: int, lost: int, n: int, *, alpha: float, effect: DesignEffect | None = None) -> Interval:
    """Bounds of accuracy(candidate) - accuracy(baseline), paired by item.

    Args:
        gained: items that only the candidate has right.
        lost: items that only the baseline has right.
        n: all items, n >= 1.
        alpha: error rate of each bound, a fraction.
        effect: of clusters; None when items are independent.
    Returns:
        Fractions in [-1, 1] (0.01 = one percentage point): the wider of the two intervals on each side.
    Source: Bonett & Price (2012), adjusted Wald interval for paired proportions; Tango (1998), score interval.
    """
    factor = effect.factor if effect else 1.0
    z = effect.quantile(alpha) if effect else _z(alpha)
    b, c, size = gained / factor, lost / factor, n / factor
    centre, error = _adjusted_gain(b, c, size)
    lower, upper = max(-1.0, centre - z * error), min(1.0, centre + z * error)
    # One function for both sides, so that swapping the models mirrors the interval exactly.
    return wider(Interval(lower, upper), Interval(-_score_upper(c, b, size, z), _score_upper(b, c, size, z)))


def paired_loss_p(gained: int, lost: int, n: int, *, margin: float, effect: DesignEffect | None = None) -> float:
    """One-sided p-value of "the candidate's accuracy is lower by more than `margin`": small when it clearly is.

    It is below alpha exactly when `paired_gain`'s upper bound at alpha is below -margin.
    """
    factor = effect.factor if effect else 1.0
    b, c, size = gained / factor, lost / factor, n / factor
    centre, error = _adjusted_gain(b, c, size)
    statistic = max((centre + margin) / error, _score(b, c, size, -margin) if margin < 1 else math.inf)
    return effect.share_above(-statistic) if effect else float(stats.norm.cdf(statistic))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """One-sided mid-p of McNemar's test that the candidate is better.

    It is P[X > gained] + P[X = gained]/2 with X ~ Bin(gained + lost, 1/2).

    Returns:
        A probability; 0.5 when the two never disagree. Swapping the models gives 1 - p.
    Source: Fagerland, Lydersen & Laake (2013).
    """
    disagreements = stats.binom(gained + lost, 0.5)
    return float(disagreements.sf(gained) + disagreements.pmf(gained) / 2)


def needed_items(effect: float, deviation: float, *, alpha: float, power: float = POWER) -> int | None:
    """How many items show a mean of `effect` > 0 to be above 0, when items deviate by `deviation` (standard deviation).

    Returns:
        The number, for a chance of `power`; None when the effect is not above 0, where no number of items would do.
    """
    if not effect > 0:
        return None
    return math.ceil(((_z(alpha) + _z(1 - power)) * deviation / effect) ** 2)


def needed_for_proportion(proportion: float, bound: float, *, alpha: float, power: float = POWER) -> int | None:
    """How many items put Wilson's lower bound at `bound` or above, when the true proportion is the measured one.

    Returns:
        The number, for a chance of `power`; None when the proportion is not above the bound.
    """
    if not proportion > bound:
        return None
    spread = _z(alpha) * math.sqrt(bound * (1 - bound)) + _z(1 - power) * math.sqrt(proportion * (1 - proportion))
    return math.ceil((spread / (proportion - bound)) ** 2)


def smallest_visible(deviation: float, n: int, *, alpha: float, power: float = POWER) -> float:
    """The smallest true mean that n items show to be above 0, with a chance of `power`."""
    return (_z(alpha) + _z(1 - power)) * deviation / math.sqrt(n)


def holm(p_values: Sequence[float], *, alpha: float) -> list[float]:
    """The level at which Holm's step-down procedure tests each hypothesis, in the order given.

    A hypothesis is rejected exactly when its p-value is below its level: alpha/k for the smallest p-value, alpha/(k-1)
    for the next, until the first that is not rejected; all from there on share that one's level.

    Returns:
        One level per hypothesis; the chance of any false rejection among all of them is at most alpha.
    Source: Holm (1979).
    """
    k = len(p_values)
    levels = [0.0] * k
    level, stopped = alpha, False
    for rank, at in enumerate(sorted(range(k), key=lambda i: p_values[i])):
        if not stopped:
            level = alpha / (k - rank)
            stopped = not p_values[at] < level
        levels[at] = level
    return levels


def spent_alpha(alpha: float, look: int) -> float:
    """The level of the k-th look at the same data: over all looks together they add up to alpha, whatever their number.

    Source: alpha_k = alpha·6/(π²k²), because the 1/k² add up to π²/6.
    """
    return alpha * 6 / (math.pi * look) ** 2


def fewest_runs(quantile: float, *, confidence: float = 0.95) -> int:
    """The fewest runs of which the slowest bounds a quantile from above: 5 for the median, 59 for p95, 299 for p99."""
    return math.ceil(math.log(1 - confidence) / math.log(quantile))


def block_mean(values: NDArray[Any], *, alpha: float) -> Interval:
    """Student's t bounds of the mean of a few dozen independent blocks; values of shape (blocks,), two at least."""
    n = len(values)
    half = float(stats.t.isf(alpha, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def _adjusted_gain(gained: float, lost: float, n: float) -> tuple[float, float]:
    better, worse = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    gain = better - worse
    return gain, math.sqrt((better + worse - gain * gain) / (n + 2))


def _score(gained: float, lost: float, n: float, gain: float) -> float:
    """Tango's score statistic of a true gain: how far the measured one lies above it, in its standard errors."""
    slope = -gained - lost + (2 * n - gained + lost) * gain
    constant = -lost * gain * (1 - gain)
    # The share of items that only the baseline has right, most likely under this gain.
    worse = (math.sqrt(max(0.0, slope * slope - 8 * n * constant)) - slope) / (4 * n)
    variance = n * (2 * worse + gain * (1 - gain))
    above = gained - lost - n * gain
    if variance <= 1e-12 * n:
        return 0.0 if abs(above) < 1e-9 * n else math.copysign(math.inf, above)
    return above / math.sqrt(variance)


def _score_upper(gained: float, lost: float, n: float, z: float) -> float:
    """The gain of which the measured one lies z standard errors below."""
    measured = (gained - lost) / n
    if measured >= 1:
        return 1.0
    return float(optimize.brentq(lambda gain: _score(gained, lost, n, gain) + z, measured, 1.0, xtol=1e-13, rtol=1e-13))


def _z(alpha: float) -> float:
    return float(stats.norm.isf(alpha))
