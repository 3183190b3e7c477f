"""Values of somebody's own metric on resamples of the items: made where its code is, compared where it is not.

A judge never runs a user's code, so a metric that is one number for all items could be held against a limit and nothing else.
But what a paired comparison needs of the code is little: the metric of both models on the *same* resamples. Which items a
resample holds therefore depends on the items' ids alone, sorted, and on a seed that nobody can choose: every model that is
scored on the same items gets the same resamples, whatever order a file has them in, and replicate b of the one less replicate b
of the other is a bootstrap of their difference. Items that belong together are drawn together, if the evaluation was told so.

Whether two series belong together is not believed but compared: the ids of the items, the clusters, the first resamples
themselves (numpy does not promise the same draws for ever), and the digest of the metric's code. What cannot be had from
replicates is said: parts of the items (`by`, `where`) were not drawn from, and levels with a handful of replicates in their
tail get Student's bounds alone.

Source: Efron & Tibshirani (1993), chapters 13 and 14; the wider of two bounds, as everywhere in `registry.means`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from registry import matching, resampling
from registry.means import SEED, MeanInterval
from registry.records import Fact
from registry.stats import Interval, wider

FEWEST = 200
MOST = 100_000
_MOST_LOST = 0.01
_FEWEST_IN_TAIL = 10
_COMPARED = 8  # resamples that are compared; a generator that draws these alike draws all alike

Array = NDArray[Any]
Values = NDArray[np.float64]
Rows = NDArray[np.intp]


class Drawn(Fact):
    """What two series of replicates must have in common.

    Attributes:
        items: digest of the sorted ids.
        cluster: the column whose values were drawn whole; None where items were drawn one by one.
        units: how many items or clusters there were to draw.
        seed: of the draws.
        resamples: digest of the first ones.
    """

    items: str
    cluster: str | None
    units: int
    seed: int
    resamples: str

    def unlike(self, other: Drawn) -> str | None:
        """Why these are no draws of the same items in the same way; None when they are."""
        if self.items != other.items:
            return "other items were resampled"
        if self.cluster != other.cluster:
            return f"one was resampled by {self.cluster or 'items'}, the other by {other.cluster or 'items'}"
        if self != other:
            return f"the draws differ (seeds {self.seed} and {other.seed}, {self.resamples[:19]} and {other.resamples[:19]})"
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """A metric on resamples, float64 (resamples,), NaN where it has no value; of how they were drawn."""

    values: Values
    drawn: Drawn


class Draws:
    """Resamples of items, as rows of a table that has them in any order.

    Args:
        ids: distinct, one per row.
        clusters: the value of each row's cluster; None where items are independent.
        cluster: what the column of clusters is called.
    """

    def __init__(self, ids: Array, *, clusters: Array | None = None, cluster: str | None = None, seed: int = SEED) -> None:
        keys = matching.comparable(ids)
        self._order = np.argsort(keys, kind="stable")
        self._starts: Rows | None = None
        self._cluster, self._seed, self._keys = cluster, seed, keys
        if clusters is not None:
            codes = np.unique(matching.comparable(clusters), return_inverse=True)[1][self._order]
            self._order = self._order[np.argsort(codes, kind="stable")]
            self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])

    @property
    def units(self) -> int:
        return len(self._order) if self._starts is None else len(self._starts) - 1

    def __iter__(self) -> Iterator[Rows]:
        return (self._order[places] for places in self._places())

    @cached_property
    def drawn(self) -> Drawn:
        some = hashlib.sha256()
        for places in islice(self._places(), _COMPARED):
            some.update(places.astype("<i8").tobytes())
        return Drawn(
            items=items_digest(self._keys),
            cluster=self._cluster,
            units=self.units,
            seed=self._seed,
            resamples=f"sha256:{some.hexdigest()}",
        )

    def _places(self) -> Iterator[Rows]:
        """Endless draws of places in the order that depends on the ids (and the clusters) alone."""
        random = np.random.default_rng(self._seed)
        while True:
            which = random.integers(0, self.units, self.units)
            if self._starts is None:
                yield which
            else:
                lengths = np.diff(self._starts)[which]
                ends = np.cumsum(lengths)
                yield np.arange(ends[-1]) - np.repeat(ends - lengths, lengths) + np.repeat(self._starts[which], lengths)


def items_digest(keys: Array) -> str:
    """The digest of ids, whatever their order.

    Args:
        keys: as `registry.matching.comparable` gives them.
    """
    ordered = np.sort(keys)
    texts = ordered.tolist() if ordered.dtype.kind == "S" else [str(key).encode() for key in ordered.tolist()]
    return "sha256:" + hashlib.sha256(b"\0".join(texts)).hexdigest()


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
