"""Corpus metrics: numbers that belong to all items at once (macro F1, areas under curves, R²), recomputed for any weights.

A resample of items is a weight per item, how often it was drawn; so a metric that can be computed for weights can be
resampled, and two models that are given the same weights are resampled together. Beside its value a formula gives its
influence: how far one item more of a kind moves it. That is what bounds it where thousands of recomputations would take
minutes, and where a level is too small for any number of resamples.

`FORMULAS` is the registry: a pure function from the columns of predictions.parquet to `Prepared`, under the name that a
metric of an evaluation carries (`records.Metric.formula`, or the metric's own name). Whoever adds one writes `of` for rows
of weights; what it says for weights of 1 must be the metric's recorded value, or a judge refuses the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = Mapping[str, Array]
Rows = NDArray[np.float64]

BINS = 15


@dataclass(frozen=True, eq=False)
class Prepared:
    """One metric on one set of items.

    Attributes:
        of: values for weights of shape (resamples, items), NaN where it does not exist (no item of a class left).
        influence: n · d value / d weight, shape (items,), at weights of 1; its mean is 0.
        passes: how many times `of` goes over the items, a measure of its cost.
        scarce: of an area under a curve, the items of the rarest class, which decide it; None for other metrics.
    """

    of: Callable[[Rows], Rows]
    influence: Callable[[], Rows]
    passes: int = 1
    scarce: int | None = None

    def value(self, items: int) -> float:
        return float(self.of(np.ones((1, items)))[0])


@dataclass(frozen=True)
class Formula:
    """A corpus metric. `cells`: the columns that hold few distinct values and decide alone, so that equal items are one."""

    columns: tuple[str, ...]
    prepare: Callable[[Columns], Prepared]
    cells: bool = False


class Sums:
    """Adds up weights by group: (resamples, items) → (resamples, groups). Sorting the groups waits until it pays."""

    def __init__(self, codes: NDArray[np.intp], size: int) -> None:
        self._codes, self._size = codes, size

    def __call__(self, weights: Rows) -> Rows:
        if len(weights) == 1:
            one: Rows = np.bincount(self._codes, weights=weights[0], minlength=self._size).astype(np.float64)
            return one[np.newaxis]
        order, starts, filled = self._sorted
        found = np.zeros((len(weights), self._size))
        if len(starts):
            found[:, filled] = np.add.reduceat(weights[:, order], starts, axis=1)
        return found

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        counts = np.bincount(self._codes, minlength=self._size)
        filled = np.flatnonzero(counts)
        return np.argsort(self._codes, kind="stable"), (np.cumsum(counts) - counts)[filled], filled


def f1_macro(columns: Columns) -> Prepared:
    """Unweighted mean of the F1 of every class that occurs as label or prediction (scikit-learn's `macro`)."""
    label, prediction = (np.asarray(columns[name], dtype=np.intp) for name in ("label", "prediction"))
    size = int(max(label.max(initial=0), prediction.max(initial=0))) + 1
    right = label == prediction
    support, predicted = Sums(label, size), Sums(prediction, size)
    # What is not right goes to a group of its own, which is dropped.
    hits = Sums(np.where(right, label, size), size + 1)

    def of(weights: Rows) -> Rows:
        occurring = support(weights) + predicted(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(occurring > 0, 2 * hits(weights)[:, :size] / occurring, 0.0)
            return np.asarray(each.sum(axis=1) / (occurring > 0).sum(axis=1))

    def influence() -> Rows:
        occurring = np.bincount(label, minlength=size) + np.bincount(prediction, minlength=size)
        safe = np.maximum(occurring, 1)
        each = 2 * np.bincount(label[right], minlength=size) / safe
        moved = 2 * right / safe[label] - each[label] / safe[label] - each[prediction] / safe[prediction]
        return np.asarray(moved * len(label) / (occurring > 0).sum())

    return Prepared(of, influence, passes=3)


def precision_macro(columns: Columns) -> Prepared:
    """Unweighted mean of the precision of every class that occurs; 0 of a class that is never predicted."""
    return _macro(columns, "prediction")


def recall_macro(columns: Columns) -> Prepared:
    """Unweighted mean of the recall of every class that occurs; 0 of a class that no item has."""
    return _macro(columns, "label")


def _macro(columns: Columns, among: str) -> Prepared:
    """The share of hits among the items that have a class in this column, class by class."""
    label, prediction = (np.asarray(columns[name], dtype=np.intp) for name in ("label", "prediction"))
    base = np.asarray(columns[among], dtype=np.intp)
    size, right = int(max(label.max(initial=0), prediction.max(initial=0))) + 1, label == prediction
    support, predicted, of_base = (Sums(codes, size) for codes in (label, prediction, base))
    hits = Sums(np.where(right, label, size), size + 1)

    def of(weights: Rows) -> Rows:
        occurring, whole = support(weights) + predicted(weights) > 0, of_base(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(whole > 0, hits(weights)[:, :size] / whole, 0.0)
            return np.asarray(each.sum(axis=1) / occurring.sum(axis=1))

    def influence() -> Rows:
        whole = np.maximum(np.bincount(base, minlength=size), 1)
        each = np.bincount(label[right], minlength=size) / whole
        occurring = np.bincount(label, minlength=size) + np.bincount(prediction, minlength=size) > 0
        return np.asarray((right - each[base]) / whole[base] * len(label) / occurring.sum())

    return Prepared(of, influence, passes=4)


def roc_auc(columns: Columns) -> Prepared:
    """Area under the ROC curve: of class 1 when there are two, else the unweighted mean of one-against-the-rest."""
    return _of_curves(columns, _roc_of_one)


def pr_auc(columns: Columns) -> Prepared:
    """Average precision: of class 1 when there are two, else the unweighted mean of one-against-the-rest."""
    return _of_curves(columns, _precision_of_one)


def _of_curves(columns: Columns, of_one: Callable[[NDArray[np.bool_], Array], Prepared]) -> Prepared:
    label, scores = np.asarray(columns["label"]), np.asarray(columns["scores"])
    classes: Sequence[int] = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    curves = [of_one(label == k, scores[:, k]) for k in classes]

    def influence() -> Rows:
        total = curves[0].influence()
        for curve in curves[1:]:
            total = total + curve.influence()
        return np.asarray(total / len(curves))

    def of(weights: Rows) -> Rows:
        return np.asarray(np.mean([curve.of(weights) for curve in curves], axis=0))

    positives = [int((label == k).sum()) for k in classes]
    scarce = min(min(count, len(label) - count) for count in positives)
    return Prepared(of, influence, passes=4 * len(curves), scarce=scarce)


def _levels(score: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Order of the scores, the number of each item's distinct score in ascending order, and how many there are."""
    order = np.argsort(score, kind="stable")
    rises = np.concatenate([[0], np.cumsum(score[order][1:] != score[order][:-1])])
    level = np.empty(len(score), dtype=np.intp)
    level[order] = rises
    return order, level, int(rises[-1]) + 1


def _roc_of_one(positive: NDArray[np.bool_], score: Array) -> Prepared:
    _, level, size = _levels(score)
    added = Sums(level, size)

    def of(weights: Rows) -> Rows:
        mine, all_ = added(weights * positive), added(weights)
        others = all_ - mine
        below = np.cumsum(others, axis=1) - others
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((mine * (below + others / 2)).sum(axis=1) / (mine.sum(axis=1) * others.sum(axis=1)))

    def influence() -> Rows:
        # DeLong et al. (1988): the share of the other side that an item beats, less the mean of its own side.
        mine = np.bincount(level[positive], minlength=size).astype(np.float64)
        others = np.bincount(level[~positive], minlength=size).astype(np.float64)
        beaten_by_mine = (np.cumsum(others) - others / 2) / others.sum()
        beaten_by_others = (mine.sum() - np.cumsum(mine) + mine / 2) / mine.sum()
        area = float((mine * beaten_by_mine).sum() / mine.sum())
        n = len(score)
        moved: Rows = np.where(
            positive, (beaten_by_mine[level] - area) * n / mine.sum(), (beaten_by_others[level] - area) * n / others.sum()
        )
        return moved

    return Prepared(of, influence)


def _precision_of_one(positive: NDArray[np.bool_], score: Array) -> Prepared:
    _, level, size = _levels(-score)
    added = Sums(level, size)

    def of(weights: Rows) -> Rows:
        mine, all_ = added(weights * positive), added(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.cumsum(mine, axis=1) / np.cumsum(all_, axis=1)
            # Before the first item that was drawn there is no precision, and no positive to weigh it by.
            return np.asarray(np.where(mine > 0, mine * precision, 0.0).sum(axis=1) / mine.sum(axis=1))

    def influence() -> Rows:
        mine = np.bincount(level[positive], minlength=size).astype(np.float64)
        true, all_ = np.cumsum(mine), np.cumsum(np.bincount(level, minlength=size))
        total, area = true[-1], float((mine * true / all_).sum())
        # An item counts at its own level, as a hit or not, and in the precision of every level below.
        gain = np.cumsum((mine / all_)[::-1])[::-1]
        loss = np.cumsum((mine * true / all_**2)[::-1])[::-1]
        moved = positive * (true / all_ + gain)[level] - loss[level]
        return np.asarray((moved - area * positive / total) * len(score) / total)

    return Prepared(of, influence)


def ece(columns: Columns) -> Prepared:
    """Expected calibration error, L1, in 15 bins of equal width closed above: mean |accuracy - confidence| by items.

    Source: Naeini et al. (2015), Guo et al. (2017).
    """
    confidence = np.asarray(columns["confidence"], dtype=np.float64)
    which = np.clip(np.searchsorted(np.linspace(0.0, 1.0, BINS + 1), confidence, side="left") - 1, 0, BINS - 1)
    surplus = np.asarray(columns["correct"], dtype=np.float64) - confidence
    added = Sums(which, BINS)

    def of(weights: Rows) -> Rows:
        return np.asarray(np.abs(added(weights * surplus)).sum(axis=1) / weights.sum(axis=1))

    def influence() -> Rows:
        of_bins = np.bincount(which, weights=surplus, minlength=BINS)
        return np.asarray(np.sign(of_bins)[which] * surplus - np.abs(of_bins).sum() / len(surplus))

    return Prepared(of, influence, passes=2)


def rmse(columns: Columns) -> Prepared:
    """Root of the mean squared error."""
    square = _errors(columns) ** 2

    def of(weights: Rows) -> Rows:
        return np.asarray(np.sqrt(weights @ square / weights.sum(axis=1)))

    def influence() -> Rows:
        mean = square.mean()
        return np.asarray((square - mean) / (2 * np.sqrt(mean))) if mean > 0 else np.zeros(len(square))

    return Prepared(of, influence)


def r2(columns: Columns) -> Prepared:
    """Coefficient of determination: the share of the labels' variance that the predictions explain."""
    square, label = _errors(columns) ** 2, np.asarray(columns["label"], dtype=np.float64)
    centred = label - label.mean()

    def of(weights: Rows) -> Rows:
        total = weights.sum(axis=1)
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(spread > 0, 1 - weights @ square / spread, np.nan))

    def influence() -> Rows:
        spread = (centred**2).mean()
        return np.asarray((square.mean() / spread * centred**2 - square) / spread)

    return Prepared(of, influence, passes=3)


def r2_mean(columns: Columns) -> Prepared:
    """Coefficient of determination of each of several targets, their mean."""
    label, prediction = (np.asarray(columns[name], dtype=np.float64) for name in ("labels", "predictions"))
    each = [r2({"label": label[:, k], "prediction": prediction[:, k]}) for k in range(label.shape[1])]
    return Prepared(
        lambda weights: np.mean([one.of(weights) for one in each], axis=0),
        lambda: np.asarray(np.mean([one.influence() for one in each], axis=0)),
        passes=3 * len(each),
    )


def mean_iou(columns: Columns) -> Prepared:
    """Intersection over union of each class over the pixels of all masks, the mean over the classes that are anywhere."""
    hits, truth, predicted = _pixels(columns)
    return _mean_ratio(hits, truth + predicted - hits)


def mean_dice(columns: Columns) -> Prepared:
    """Dice of each class over the pixels of all masks, the mean over the classes that are anywhere."""
    hits, truth, predicted = _pixels(columns)
    return _mean_ratio(2 * hits, truth + predicted)


def sensitivity(columns: Columns) -> Prepared:
    """The share of each class's pixels that are found, the mean over the classes that are anywhere in the truth."""
    hits, truth, _ = _pixels(columns)
    return _mean_ratio(hits, truth)


def specificity(columns: Columns) -> Prepared:
    """The share of each class's other pixels that are not taken for it, the mean over the classes."""
    hits, truth, predicted = _pixels(columns)
    others = truth.sum(axis=1, keepdims=True) - truth
    return _mean_ratio(others - (predicted - hits), others)


def _pixels(columns: Columns) -> tuple[Rows, Rows, Rows]:
    hits, truth, predicted = (np.asarray(columns[name], np.float64) for name in ("intersection", "truth", "predicted"))
    return hits, truth, predicted


def _mean_ratio(parts: Rows, wholes: Rows) -> Prepared:
    """The mean over classes of a ratio of sums over items.

    Args:
        parts, wholes: of each item and class, shape (items, classes); a class without any whole does not count.
    """

    def of(weights: Rows) -> Rows:
        part, whole = weights @ parts, weights @ wholes
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(whole > 0, part / whole, 0.0)
            return np.asarray(each.sum(axis=1) / (whole > 0).sum(axis=1))

    def influence() -> Rows:
        whole = wholes.sum(axis=0)
        there = whole > 0
        ratio = parts.sum(axis=0)[there] / whole[there]
        moved = (parts[:, there] - ratio * wholes[:, there]) / whole[there]
        return np.asarray(moved.mean(axis=1) * len(parts))

    return Prepared(of, influence, passes=2 * parts.shape[1])


def _errors(columns: Columns) -> Rows:
    label, prediction = (np.asarray(columns[name], dtype=np.float64) for name in ("label", "prediction"))
    return np.asarray(prediction - label)


_MASKS = ("intersection", "truth", "predicted")

FORMULAS: Mapping[str, Formula] = {
    "f1_macro": Formula(("label", "prediction"), f1_macro, cells=True),
    "precision_macro": Formula(("label", "prediction"), precision_macro, cells=True),
    "recall_macro": Formula(("label", "prediction"), recall_macro, cells=True),
    "roc_auc": Formula(("label", "scores"), roc_auc),
    "pr_auc": Formula(("label", "scores"), pr_auc),
    "ece": Formula(("confidence", "correct"), ece),
    "rmse": Formula(("label", "prediction"), rmse),
    "r2": Formula(("label", "prediction"), r2),
    "r2_mean": Formula(("labels", "predictions"), r2_mean),
    "mean_iou": Formula(_MASKS, mean_iou),
    "mean_dice": Formula(_MASKS, mean_dice),
    "sensitivity": Formula(_MASKS, sensitivity),
    "specificity": Formula(_MASKS, specificity),
}


def formula(name: str) -> Formula | None:
    """The formula of a name; `rmse:price` is `rmse` of the columns `label_price` and `prediction_price`."""
    known, colon, target = name.partition(":")
    found = FORMULAS.get(known)
    if found is None or not colon:
        return found
    renamed = {f"{column}_{target}": column for column in found.columns}

    def prepare(columns: Columns) -> Prepared:
        return found.prepare({plain: columns[own] for own, plain in renamed.items()})

    return Formula(tuple(renamed), prepare, cells=found.cells)
