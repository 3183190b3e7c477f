"""One metric of two models, or of one, on some items: what is measured, and how sure that is. Three kinds of metric, one face.

`Measured` is what every test asks of: the two values, their oriented difference, bounds at a level, and the p-value of a
loss. Behind it stand counts for correctness metrics, a mean for per-item values, and resampling for corpus metrics; with
clusters each of them resamples, or counts, whole clusters.

A relative margin is itself measured, on the same items. Its uncertainty is part of the interval: what is tested against 0
is difference + share · baseline. For correctness it is negligible beside the disagreements and left out (`benchmarks/gates`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry import areas, means, resampling, stats
from registry.corpus import Formula, Prepared
from registry.judging.terms import Terms
from registry.means import MeanInterval, Units
from registry.pairing import Pair
from registry.records import Metric
from registry.resampling import Statistic, Unstable
from registry.scores import Scores, Unanswerable
from registry.stats import DesignEffect, Interval

Rows = NDArray[np.intp]
Array = NDArray[Any]

_FEWEST_CLUSTERS = 10


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric on some items. Without a baseline, `delta` and the bounds are of the candidate's own value.

    `share` · baseline is added to the difference before it is bounded, and taken off the bounds again, so that they read as
    bounds of the difference and include how well the baseline is known.
    """

    candidate: float
    baseline: float | None
    delta: float
    counts: Mapping[str, int]
    share: float = 0.0

    @property
    def items(self) -> int:
        return self.counts["items"]

    @property
    def offset(self) -> float:
        return self.share * (self.baseline or 0.0)

    @property
    def deviation(self) -> float:
        """Of one item: the error of the tested quantity times √items."""
        raise NotImplementedError

    def bounds(self, alpha: float) -> MeanInterval:
        """Bounds by the best method for a level that is not tiny."""
        raise NotImplementedError

    def closed(self, alpha: float) -> MeanInterval:
        """Bounds in closed form, good for any level; `loss_p` is below alpha exactly when their upper one is below -margin."""
        raise NotImplementedError

    def loss_p(self, margin: float) -> float:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Proportions(Measured):
    """Correctness: what counts is where the two disagree."""

    effect: DesignEffect | None = None

    @property
    def deviation(self) -> float:
        gained, lost = self.counts["gained"], self.counts["lost"]
        variance = (gained + lost) / self.items - self.delta**2
        return math.sqrt(variance * (self.effect.factor if self.effect else 1.0))

    def bounds(self, alpha: float) -> MeanInterval:
        return self.closed(alpha)

    def closed(self, alpha: float) -> MeanInterval:
        gained, lost = self.counts["gained"], self.counts["lost"]
        interval = stats.paired_gain(gained, lost, self.items, alpha=alpha, effect=self.effect)
        clustered = f", design effect {self.effect.factor:.3g}" if self.effect else ""
        return MeanInterval(interval=interval, method=f"wider of Bonett-Price and Tango paired intervals{clustered}")

    def loss_p(self, margin: float) -> float:
        gained, lost = self.counts["gained"], self.counts["lost"]
        return stats.paired_loss_p(gained, lost, self.items, margin=margin, effect=self.effect)


@dataclass(frozen=True, kw_only=True)
class Means(Measured):
    """Means of per-item values."""

    values: Units

    @property
    def deviation(self) -> float:
        return self.values.deviation

    def bounds(self, alpha: float) -> MeanInterval:
        return self._moved(means.mean_interval(self.values, alpha=alpha), "paired ")

    def closed(self, alpha: float) -> MeanInterval:
        interval = means.closed_interval(self.values, alpha=alpha)
        return self._moved(MeanInterval(interval=interval, method="wider of t and Hall's skewness-corrected t"), "paired ")

    def loss_p(self, margin: float) -> float:
        return means.loss_p(self.values, margin=margin - self.offset)

    def _moved(self, found: MeanInterval, prefix: str) -> MeanInterval:
        interval = Interval(found.interval.lower - self.offset, found.interval.upper - self.offset)
        paired = prefix if self.baseline is not None else ""
        return MeanInterval(interval=interval, method=paired + found.method, resamples=found.resamples)


@dataclass(frozen=True, kw_only=True)
class Corpus(Means):
    """Corpus metrics; `values` are the linearised ones."""

    statistic: Statistic
    codes: NDArray[np.intp] | None

    def bounds(self, alpha: float) -> MeanInterval:
        try:
            return self._moved(resampling.interval(self.statistic, alpha=alpha, clusters=self.codes), "paired, ")
        except Unstable as exc:
            raise Unanswerable(str(exc)) from exc


@dataclass(frozen=True, kw_only=True)
class Areas(Measured):
    """Areas under curves. `tested` holds each by its weight in the tested quantity, `flat` is that quantity linearised."""

    tested: areas.Sum
    flat: Units

    @property
    def deviation(self) -> float:
        return self.flat.deviation

    def bounds(self, alpha: float) -> MeanInterval:
        return self.closed(alpha)

    def closed(self, alpha: float) -> MeanInterval:
        found = self.tested.interval(alpha)
        paired = "" if self.baseline is None else "paired, "
        clustered = "" if self.flat.sizes is None else " over clusters"
        return MeanInterval(
            interval=Interval(found.lower - self.offset, found.upper - self.offset),
            method=f"{paired}profile on the logit scale, t with {self.tested.freedom:.3g} degrees of freedom{clustered}",
        )

    def loss_p(self, margin: float) -> float:
        return self.tested.loss_p(margin - self.offset)


@dataclass(frozen=True, eq=False)
class Subject:
    """One metric of the two models (or of one) on all items, ready to be asked of any of them."""

    metric: Metric
    name: str
    candidate: Mapping[str, Array]
    baseline: Mapping[str, Array] | None
    formula: Formula | None
    clusters: NDArray[np.intp] | None
    cluster: str | None
    order: NDArray[np.intp] | None

    @cached_property
    def items(self) -> int:
        return len(next(iter(self.candidate.values())))

    @property
    def sign(self) -> float:
        return 1.0 if self.metric.direction == "higher" else -1.0

    def measure(self, rows: Rows | None = None, *, share: float = 0.0) -> Measured:
        """
        Args:
            rows: of which items; None means all.
            share: see `Measured`.
        Raises:
            Unanswerable: too few items or clusters, or the metric does not exist on these items.
        """
        codes = self.codes(rows)
        n = self.items if rows is None else len(rows)
        if n < 2:
            raise Unanswerable(f"{n} items have no confidence bound")
        clusters = None if codes is None else int(codes.max()) + 1
        if clusters is not None:
            check_clusters(clusters, self.cluster)
        counts = {"items": n} | ({} if clusters is None else {"clusters": clusters})
        if self.formula is not None:
            return self._corpus(self.formula, rows, codes, share, counts)
        mine = _cut(self.candidate["values"], rows)
        others = None if self.baseline is None else _cut(self.baseline["values"], rows)
        if self.metric.kind == "correctness":
            return self._proportions(mine, others, codes, share, counts)
        return self._means(mine, others, codes, share, counts)

    def baseline_values(self, rows: Rows | None) -> Array:
        """The per-item values of the baseline; only of metrics that are means."""
        assert self.baseline is not None, "asked of a comparison"
        return _cut(self.baseline["values"], rows)

    def codes(self, rows: Rows | None) -> NDArray[np.intp] | None:
        """The number of each item's cluster among these rows; None when items are independent."""
        if self.clusters is None:
            return None
        return self.clusters if rows is None else np.unique(self.clusters[rows], return_inverse=True)[1]

    def _proportions(
        self, mine: Array, others: Array | None, codes: NDArray[np.intp] | None, share: float, counts: dict[str, int]
    ) -> Measured:
        n = counts["items"]
        if others is None:
            values, baseline = mine, None
            delta = float(mine.mean())
            counts = counts | {"right": int(mine.sum())}
        else:
            values = mine.astype(np.int8) - others.astype(np.int8)
            more, fewer = int((values > 0).sum()), int((values < 0).sum())
            gained, lost = (more, fewer) if self.sign > 0 else (fewer, more)
            counts = counts | {"gained": gained, "lost": lost}
            delta, baseline = (gained - lost) / n, float(others.mean())
        effect = None
        if codes is not None:
            effect = stats.design_effect(means.units(values, codes).error, values, codes)
        kind = Proportions if others is not None else Proportion
        return kind(candidate=float(mine.mean()), baseline=baseline, delta=delta, counts=counts, share=share, effect=effect)

    def _means(
        self, mine: Array, others: Array | None, codes: NDArray[np.intp] | None, share: float, counts: dict[str, int]
    ) -> Measured:
        if others is None:
            values = means.units(mine, codes)
            return Means(candidate=values.mean, baseline=None, delta=values.mean, counts=counts, values=values)
        gains = self.sign * (mine - others)
        tested = gains if share == 0 else gains + share * others
        return Means(
            candidate=float(mine.mean()),
            baseline=float(others.mean()),
            delta=float(gains.mean()),
            counts=counts,
            share=share,
            values=means.units(tested, codes),
        )

    def _corpus(
        self, formula: Formula, rows: Rows | None, codes: NDArray[np.intp] | None, share: float, counts: dict[str, int]
    ) -> Measured:
        # Rows in the order of the items' ids: the seed decides about items, not about where a file has them.
        rows = self._ordered(rows)
        if self.clusters is not None:
            codes = self.codes(rows)
        n = counts["items"]
        mine = self._prepared(formula, self.candidate, rows)
        others = None if self.baseline is None else self._prepared(formula, self.baseline, rows)
        value = mine.value(n)
        other = None if others is None else others.value(n)
        if not (math.isfinite(value) and (other is None or math.isfinite(other))):
            raise Unanswerable(f"{self.name} does not exist on these {n} items")
        # One model: 1 · candidate. Two: s · candidate - (s - share) · baseline, whose margin part is share · baseline.
        parts = [(1.0, mine)] if others is None else [(self.sign, mine), (share - self.sign, others)]
        weighed = [(1.0, value)] if other is None else [(self.sign, value), (share - self.sign, other)]
        pulls = [part.influence() for _, part in parts]
        influence = np.asarray(sum(weight * pull for (weight, _), pull in zip(parts, pulls, strict=True)))
        tested = sum(weight * one for weight, one in weighed)
        if mine.scarce is not None:
            known = zip(parts, weighed, pulls, strict=True)
            own = [(w, areas.Area(means.units(one + pull, codes), part.scarce or 0)) for (w, part), (_, one), pull in known]
            return Areas(
                candidate=value,
                baseline=other,
                delta=value if other is None else self.sign * (value - other),
                counts=counts,
                share=share,
                tested=areas.Sum(own),
                flat=means.units(tested + influence, codes),
            )
        recomputed, cells = parts, None
        if formula.cells and codes is None:
            recomputed, cells = self._in_cells(formula, rows, share)
        statistic = Statistic(
            value=tested,
            of=lambda weights: np.asarray(sum(weight * part.of(weights) for weight, part in recomputed)),
            influence=influence,
            counts=cells,
            passes=sum(part.passes for _, part in parts),
        )
        return Corpus(
            candidate=value,
            baseline=other,
            delta=value if other is None else self.sign * (value - other),
            counts=counts,
            share=share,
            values=resampling.linear(statistic, codes),
            statistic=statistic,
            codes=codes,
        )

    def _ordered(self, rows: Rows | None) -> Rows | None:
        if self.order is None:
            return rows
        if rows is None:
            return self.order
        chosen = np.zeros(self.items, dtype=np.bool_)
        chosen[rows] = True
        return self.order[chosen[self.order]]

    def _prepared(self, formula: Formula, columns: Mapping[str, Array], rows: Rows | None) -> Prepared:
        with np.errstate(invalid="ignore", divide="ignore"):
            return formula.prepare({name: _cut(column, rows) for name, column in columns.items()})

    def _in_cells(
        self, formula: Formula, rows: Rows | None, share: float
    ) -> tuple[list[tuple[float, Prepared]], NDArray[np.int64]]:
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        cut = [{name: _cut(column, rows) for name, column in side.items()} for side in sides]
        first, counts = resampling.cells(*(column for side in cut for column in side.values()))
        weights = [1.0] if len(sides) == 1 else [self.sign, share - self.sign]
        prepared = [formula.prepare({name: column[first] for name, column in side.items()}) for side in cut]
        return list(zip(weights, prepared, strict=True)), counts


@dataclass(frozen=True, kw_only=True)
class Proportion(Proportions):
    """Correctness of one model."""

    @property
    def deviation(self) -> float:
        return math.sqrt(self.delta * (1 - self.delta) * (self.effect.factor if self.effect else 1.0))

    def closed(self, alpha: float) -> MeanInterval:
        interval = stats.wilson(self.counts["right"], self.items, alpha=alpha, effect=self.effect)
        clustered = f", design effect {self.effect.factor:.3g}" if self.effect else ""
        return MeanInterval(interval=interval, method=f"Wilson interval{clustered}")


def subject_of(pair: Pair, name: str, terms: Terms) -> Subject:
    """A metric of both models.

    Raises:
        Unanswerable: the evidence does not hold it, or contradicts itself about it; too few items.
    """
    metric, _ = pair.metrics(name)
    formula = None
    if metric.kind == "corpus":
        formula, mine, others = pair.inputs(name)
    elif metric.kind == "system":
        raise Unanswerable(f"{name} of the candidate has no per-item values (system metric)")
    else:
        candidate, baseline = pair.values(name)
        mine, others = {"values": candidate}, {"values": baseline}
    if terms.cluster is not None:
        pair.shared(terms.cluster)
    return _subject(pair.candidate, metric, name, terms, formula, mine, others)


def subject_alone(scores: Scores, name: str, terms: Terms) -> Subject:
    """A metric of one model; see `subject_of`."""
    metric = scores.metric(name)
    formula = None
    if metric.kind == "corpus":
        formula, mine = scores.inputs(name)
    else:
        mine = {"values": scores.values(name)}
    return _subject(scores, metric, name, terms, formula, mine, None)


def _subject(
    scores: Scores,
    metric: Metric,
    name: str,
    terms: Terms,
    formula: Formula | None,
    mine: Mapping[str, Array],
    others: Mapping[str, Array] | None,
) -> Subject:
    n = len(scores.ids)
    check_items(n, terms)
    clusters = scores.clusters(terms.cluster) if terms.cluster is not None else None
    # Only items that are resampled one by one need an order of their own.
    order = scores.canonical if formula is not None and n <= resampling.MOST_WORK else None
    return Subject(metric, name, mine, others, formula, clusters, terms.cluster, order)


def _cut(column: Array, rows: Rows | None) -> Array:
    return column if rows is None else column[rows]


def check_items(items: int, terms: Terms) -> None:
    """
    Raises:
        Unanswerable: the policy wants more items.
    """
    wanted = max(2, terms.policy.data.min_items)
    if items < wanted:
        raise Unanswerable(f"{items} items, the policy wants {wanted} at least")


def check_clusters(clusters: int, column: str | None) -> None:
    """
    Raises:
        Unanswerable: they are too few to tell how much clusters differ.
    """
    if clusters < _FEWEST_CLUSTERS:
        raise Unanswerable(f"{clusters} clusters by {column}, {_FEWEST_CLUSTERS} are needed at least")
