"""A metric of the user's own that is one number for all items: judged from the replicates that its evaluations keep.

Nobody who judges runs its code. Both models were measured on the same resamples (`registry.replicates`), so replicate b of the
one and replicate b of the other make replicate b of whatever is tested: the gain, or the gain and a share of the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.judging.differences import Measured, Rows, check_clusters, check_items
from registry.judging.terms import Terms
from registry.means import MeanInterval
from registry.pairing import Pair
from registry.records import Metric
from registry.replicates import Replicates
from registry.resampling import Unstable
from registry.scores import Scores, Unanswerable
from registry.spreads import Spread, spread
from registry.stats import Interval

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Replicated(Measured):
    """One number, and how it varies with the items; `spread` is of the tested quantity."""

    spread: Spread
    words: str

    @property
    def deviation(self) -> float:
        return self.spread.error * math.sqrt(self.items)

    def bounds(self, alpha: float) -> MeanInterval:
        found = self.spread.bounds(alpha)
        return MeanInterval(
            interval=self._moved(found.interval), method=self.words.format(found.method), resamples=found.resamples
        )

    def closed(self, alpha: float) -> MeanInterval:
        method = self.words.format(f"t with the error of {len(self.spread.replicates):,} replicates")
        return MeanInterval(interval=self._moved(self.spread.student(alpha)), method=method)

    def loss_p(self, margin: float) -> float:
        return self.spread.loss_p(margin - self.offset)

    def _moved(self, found: Interval) -> Interval:
        return Interval(found.lower - self.offset, found.upper - self.offset)


@dataclass(frozen=True, eq=False)
class OwnSubject:
    """One such metric of the two models, or of one, on all items."""

    metric: Metric
    name: str
    candidate: float
    baseline: float | None
    mine: Replicates
    others: Replicates | None
    items: int

    def measure(self, rows: Rows | None = None, *, share: float = 0.0) -> Measured:
        """
        Args:
            rows: None; of other items than all there are no replicates.
            share: see `Measured`.
        Raises:
            Unanswerable: it is asked of some of the items, or the metric has no value on too many resamples.
        """
        if rows is not None:
            raise Unanswerable(
                f"{self.name} was measured on all items and resamples of them by code that a judge does not run, so it cannot"
                " be asked of some of them (by, where); one value per item could be"
            )
        sign = 1.0 if self.metric.direction == "higher" else -1.0
        drawn = self.mine.drawn
        counts: dict[str, int] = {"items": self.items} | ({"clusters": drawn.units} if drawn.cluster else {})
        if self.others is None or self.baseline is None:
            tested, values, delta = self.candidate, self.mine.values, self.candidate
        else:
            both = min(len(self.mine.values), len(self.others.values))
            mine, others = self.mine.values[:both], self.others.values[:both]
            delta = sign * (self.candidate - self.baseline)
            tested, values = delta + share * self.baseline, sign * (mine - others) + share * others
        try:
            found = spread(tested, values, units=drawn.units)
        except Unstable as exc:
            raise Unanswerable(f"{self.name}: {exc}") from exc
        paired = "" if self.others is None else "paired, "
        return Replicated(
            candidate=self.candidate,
            baseline=self.baseline,
            delta=delta,
            counts=counts,
            share=share,
            spread=found,
            words=f"{paired}{{}}{' of clusters' if drawn.cluster else ''}, seed {drawn.seed}",
        )

    def baseline_values(self, rows: Rows | None) -> Values:
        raise AssertionError("only means have values of items")

    def codes(self, rows: Rows | None) -> None:
        return None


def own_pair(pair: Pair, name: str, terms: Terms) -> OwnSubject:
    """Such a metric of both models.

    Raises:
        Unanswerable: an evaluation keeps no replicates of it, or those of the two are of other resamples, or of other
            clusters than the policy's.
    """
    metric, other = pair.metrics(name)
    mine, others = pair.replicates(name)
    _check(pair.candidate, name, mine, metric, terms)
    return OwnSubject(metric, name, metric.value, other.value, mine, others, metric.n)


def own_alone(scores: Scores, name: str, terms: Terms) -> OwnSubject:
    """Such a metric of one model; see `own_pair`."""
    metric = scores.metric(name)
    mine = scores.replicates(name)
    _check(scores, name, mine, metric, terms)
    return OwnSubject(metric, name, metric.value, None, mine, None, metric.n)


def is_own(metric: Metric, replicates: Mapping[str, Replicates], name: str) -> bool:
    """Whether a metric is judged by replicates: the user's own, one number for all items."""
    return metric.kind == "corpus" and (metric.source is not None or name in replicates)


def _check(scores: Scores, name: str, found: Replicates, metric: Metric, terms: Terms) -> None:
    check_items(metric.n, terms)
    drawn = found.drawn
    if drawn.cluster != terms.cluster:
        how = f" --cluster {terms.cluster}" if terms.cluster else ""
        raise Unanswerable(
            f"{name} of the {scores.role} was resampled by {drawn.cluster or 'items'}, the policy clusters by"
            f" {terms.cluster or 'nothing'}; evaluate with --metric FILE.py:{name}{how}"
        )
    if drawn.cluster is not None:
        check_clusters(drawn.units, drawn.cluster)
