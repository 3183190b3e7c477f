"""How sure a number is that is known only by its values on resamples (`registry.replicates`).

Every bound is the wider of two, Student's t with the replicates' own error and bias-corrected percentiles, as everywhere in
`registry.means`: the first cannot see skewness, the second has too few replicates far out. What cannot be had is said: levels
with a handful of replicates in their tail get Student's bounds alone, and a number that too many resamples do not have gets
none. How often a gate errs on them is in `benchmarks/gates`, group `own`.

Source: Efron & Tibshirani (1993), chapters 13 and 14.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from registry import resampling
from registry.means import MeanInterval
from registry.stats import Interval, wider

FEWEST = 200
_MOST_LOST = 0.01
_FEWEST_IN_TAIL = 10

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """How a number varies over its replicates.

    Attributes:
        value: the number itself.
        replicates: those that have a value.
        units: how many items or clusters were drawn from.
    """

    value: float
    replicates: Values
    units: int

    @cached_property
    def error(self) -> float:
        """The standard error; 0 when nothing varies but rounding. A resample varies by (n - 1)/n too little."""
        found = float(self.replicates.std(ddof=1)) * math.sqrt(self.units / (self.units - 1))
        return 0.0 if found <= 1e-12 * abs(self.value) else found

    def student(self, alpha: float) -> Interval:
        half = float(stats.t.isf(alpha, self.units - 1)) * self.error
        return Interval(self.value - half, self.value + half)

    def loss_p(self, margin: float) -> float:
        """One-sided p-value of "the number is below -margin"; below alpha exactly when `student`'s upper bound is."""
        if self.error == 0:
            return 0.0 if self.value < -margin else 1.0
        return float(stats.t.cdf((self.value + margin) / self.error, self.units - 1))

    def bounds(self, alpha: float) -> MeanInterval:
        """The wider of Student's bounds and bias-corrected percentiles."""
        count = len(self.replicates)
        if self.error == 0:
            return MeanInterval(interval=Interval(self.value, self.value), method="no replicate differs", resamples=count)
        if alpha * count < _FEWEST_IN_TAIL:
            method = f"t with the error of {count:,} replicates"
            return MeanInterval(interval=self.student(alpha), method=method, resamples=count)
        percentiles = resampling.corrected(np.sort(self.replicates), self.value, acceleration=0.0, alpha=alpha)
        return MeanInterval(
            interval=wider(self.student(alpha), percentiles),
            method=f"wider of t and bias-corrected percentiles of {count:,} replicates",
            resamples=count,
        )


def spread(value: float, replicates: Values, *, units: int) -> Spread:
    """
    Args:
        replicates: NaN where there is no value.
    Raises:
        Unstable: too few have a value, or there are too few of them.
    """
    found = replicates[np.isfinite(replicates)]
    lost = len(replicates) - len(found)
    if lost > _MOST_LOST * len(replicates):
        raise resampling.Unstable(f"{lost:,} of {len(replicates):,} resamples have no value")
    if len(found) < FEWEST:
        raise resampling.Unstable(f"{len(found):,} resamples, {FEWEST} are needed at least")
    return Spread(value=value, replicates=found, units=units)
