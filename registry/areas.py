"""Bounds of areas under curves (ROC, precision-recall): of one model's, and of the difference of two on the same items.

An area is at most 1, and a few items of the rarer class decide it. Where those happen to be easy ones, both models come out
near 1, their difference small and its estimated error small as well, so that bounds of equal width on both sides err up to
16 % at a nominal 5 %, t as well as BCa (`benchmarks/gates`). So the areas are taken as normal on the logit scale, with their
correlation, and a bound is the least (greatest) value over their confidence ellipse: what a profile likelihood would give.
Its radius is Student's t with as many degrees of freedom as the estimated variances really have, which the kurtosis of
the influences tells. With 30 items of the rarer class that errs 2-6 %, and it is as narrow as t for models that are alike.

Sources: DeLong et al. (1988) for the influences of the area under ROC; Pepe (2003), 5.2, for the logit scale; Satterthwaite
(1946) and O'Neill (2014) for the degrees of freedom of a variance; Venzon & Moolgavkar (1988) for profiles of functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from registry.means import Units
from registry.stats import Interval

_SMALLEST = 1e-12  # no level below it is asked for
_AROUND = 720  # points of an ellipse: they miss its extremes by 1e-5 of the width

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Area:
    """One model's area.

    Attributes:
        units: the area plus each item's influence on it, by clusters where there are some; their mean is the area.
        scarce: items of the rarest class.
    """

    units: Units
    scarce: int

    @property
    def value(self) -> float:
        return self.units.mean

    @property
    def extreme(self) -> bool:
        """Whether no item of the rarer class was ever beaten (or all always), so that nothing varies and little is known."""
        return not _SMALLEST < self.value < 1 - _SMALLEST

    @cached_property
    def logit(self) -> float:
        few = self._few
        # Half an item is added to either side (Haldane 1956, Anscombe 1956).
        share = (round(self.value) * few + 0.5) / (few + 1) if self.extreme else self.value
        return float(special.logit(share))

    @cached_property
    def pulls(self) -> Array:
        """How far each unit moves the logit; as many degrees of freedom are used up as the rarer class gives."""
        if self.extreme or self.units.error == 0:
            return np.zeros(self.units.count)
        scale = math.sqrt(self._few / (self._few - 1)) / (self.value * (1 - self.value) * self.units.count)
        return np.asarray(self.units.residuals * scale)

    @cached_property
    def unseen(self) -> float:
        """Variance of the logit beside what the units show: binomial, of an extreme area."""
        share = float(special.expit(self.logit))
        return 1 / ((self._few + 1) * share * (1 - share)) if self.extreme else 0.0

    @property
    def _few(self) -> int:
        return max(2, min(self.scarce, self.units.count))


@dataclass(frozen=True, eq=False)
class Sum:
    """A weighted sum of one or two areas on the same items, such as (1, candidate), (-1, baseline)."""

    parts: Sequence[tuple[float, Area]]

    @cached_property
    def value(self) -> float:
        return math.fsum(weight * area.value for weight, area in self.parts)

    def interval(self, alpha: float) -> Interval:
        """Bounds of the sum; `alpha` is the error rate of each."""
        ends = self._at(float(stats.t.isf(alpha, self.freedom)))
        return Interval(min(float(ends.min()), self.value), max(float(ends.max()), self.value))

    def loss_p(self, margin: float) -> float:
        """One-sided p-value of "the sum is below -margin": it is below alpha exactly when `interval`'s upper bound is."""
        losing = self.value < -margin

        def beyond(level: float) -> float:
            found = self.interval(level)
            return (found.upper if losing else found.lower) + margin

        # The bound moves away from the value as the level falls; on the other side of one half it is the other bound.
        if (beyond(_SMALLEST) < 0) == losing:
            return 0.0 if losing else 1.0
        level = 0.5 if (beyond(0.5) < 0) != losing else float(optimize.brentq(beyond, _SMALLEST, 0.5, xtol=1e-13))
        return level if losing else 1 - level

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of the variance of an area, of their sum, of their difference: the fewest of them."""
        pulls = [area.pulls for _, area in self.parts]
        if len(pulls) == 2:
            pulls += [pulls[0] - pulls[1], pulls[0] + pulls[1]]
        return min(_freedom(some) for some in pulls)

    @cached_property
    def _root(self) -> Array:
        """The symmetric root of the covariance of the logits, so that swapping the models changes nothing."""
        pulls = np.stack([area.pulls for _, area in self.parts])
        values, vectors = np.linalg.eigh(pulls @ pulls.T + np.diag([area.unseen for _, area in self.parts]))
        return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)

    def _at(self, radius: float) -> Array:
        """Values of the sum around the ellipse."""
        logits = np.array([[area.logit] for _, area in self.parts])
        if len(self.parts) == 1:
            circle = np.array([[-1.0, 1.0]])
        else:
            angles = 2 * np.pi * np.arange(_AROUND) / _AROUND
            circle = np.stack([np.cos(angles), np.sin(angles)])
        weights = np.array([weight for weight, _ in self.parts])
        return np.asarray(weights @ special.expit(logits + radius * self._root @ circle))


def _freedom(pulls: Array) -> float:
    """2 var² / var(var), from the fourth moment; at most that of normal values."""
    square = float((pulls**2).sum())
    most = len(pulls) - 1.0
    if square == 0:
        return most
    return min(most, 2 / max(float((pulls**4).sum()) / square**2 - 1 / len(pulls), _SMALLEST))
