"""Score masks: per image how much of each class is found, and the metrics that a gate compares two models on.

Two readings of Dice and IoU are in use and differ where classes are rare. Per image (`dice`, `iou`): the mean over the classes
that the image or the answer shows, then over images; an image is an item, so two models are paired on it. Over the corpus
(`mean_iou`, `mean_dice`, `sensitivity`, `specificity`): the pixels of all images are one large mask, as in PASCAL VOC; their
sums are kept per image, so that a gate can resample images. `dice_<class>` is one class per image, 1 where neither the mask nor
the answer has it: nothing was to be found, and nothing was. Pixels that nobody labelled count nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import running
from pipelines.data.inputs import Inputs
from pipelines.data.spec import IGNORED
from pipelines.metrics import CLIP, Report, corpus_metric, mean_metric
from pipelines.recipes import ScoresKind
from pipelines.running import Progress, Scorer, check_finite, checked_ids
from registry.errors import BadData
from registry.records import Metric

_SCORES_AT_ONCE = 1 << 23  # floats of a batch: 32 MiB
_MOST_CLASSES = 32  # with a column and a metric of their own


@dataclass(frozen=True, kw_only=True)
class Masks:
    """What a model said of each pixel, rows in the order of the items given.

    Attributes:
        labels: the class names.
        prediction: class indices, uint8 (n, height, width).
        intersection, truth, predicted: pixels of each image and class, int64 (n, classes): rightly found, labelled, answered.
        nll: -log(probability of the label), nats, the mean over the image's labelled pixels, float64 (n,).
        confusion: pixels of all images by class (row) and answer (column), int64 (classes, classes).
    """

    item: NDArray[Any]
    labels: tuple[str, ...]
    prediction: NDArray[np.uint8]
    intersection: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    nll: NDArray[np.float64]
    confusion: NDArray[np.int64]

    @property
    def dice(self) -> NDArray[np.float64]:
        """Of each image and class, shape (n, classes); NaN where neither mask nor answer has the class."""
        with np.errstate(invalid="ignore"):
            return np.asarray(2 * self.intersection / (self.truth + self.predicted))

    @property
    def iou(self) -> NDArray[np.float64]:
        """As `dice`: intersection over union."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.intersection / (self.truth + self.predicted - self.intersection))

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of predictions.parquet."""
        found: dict[str, NDArray[Any]] = {
            "item": self.item,
            "dice": np.nanmean(self.dice, axis=1),
            "iou": np.nanmean(self.iou, axis=1),
            "pixel_accuracy": self.intersection.sum(axis=1) / self.truth.sum(axis=1),
            "nll": self.nll,
            "intersection": self.intersection,
            "truth": self.truth,
            "predicted": self.predicted,
            "shows": np.array([self._shows(row) for row in self.truth > 0], dtype=object),
        }
        if len(self.labels) <= _MOST_CLASSES:
            of_classes = np.nan_to_num(self.dice, nan=1.0)
            found |= {f"dice_{label}": of_classes[:, k] for k, label in enumerate(self.labels)}
        return found

    def _shows(self, there: NDArray[np.bool_]) -> str:
        return " + ".join(label for label, shown in zip(self.labels, there, strict=True) if shown)

    def report(self, labels: Sequence[str]) -> Report:
        """The metrics of masks of these classes."""
        columns = self.columns()
        share = self.truth.sum(axis=0) / self.truth.sum()
        majority, there = float(share.max()), int((share > 0).sum())
        metrics = {
            name: mean_metric(columns[name], column=name, direction="higher", unit="fraction") for name in ("dice", "iou")
        }
        metrics["pixel_accuracy"] = mean_metric(
            columns["pixel_accuracy"], column="pixel_accuracy", direction="higher", unit="fraction"
        )
        metrics["nll"] = mean_metric(self.nll, column="nll", direction="lower", unit="nats")
        chances = {"mean_iou": majority / there, "mean_dice": 2 * majority / (1 + majority) / there, "sensitivity": 1 / there}
        for name in ("mean_iou", "mean_dice", "sensitivity", "specificity"):
            found = corpus_metric(
                columns, name, direction="higher", unit="fraction", chance=chances.get(name), bounds=(0.0, 1.0)
            )
            assert found is not None, "at least one pixel is labelled"
            metrics[name] = found
        for column in (name for name in columns if name.startswith("dice_")):
            metrics[column] = mean_metric(columns[column], column=column, direction="higher", unit="fraction")
        return Report(metrics, self._by_class(), {})

    def _by_class(self) -> dict[str, dict[str, Metric]]:
        """Over the pixels of all images, of each class that is in a mask; `n` counts the images that show it."""
        hits, truth, predicted = (part.sum(axis=0).astype(float) for part in (self.intersection, self.truth, self.predicted))
        others, found = truth.sum() - truth, {}
        for k, label in enumerate(self.labels):
            if not truth[k]:
                continue
            ratios = {
                "dice": 2 * hits[k] / (truth[k] + predicted[k]),
                "iou": hits[k] / (truth[k] + predicted[k] - hits[k]),
                "sensitivity": hits[k] / truth[k],
            }
            if predicted[k]:
                ratios["precision"] = hits[k] / predicted[k]
            if others[k]:
                ratios["specificity"] = 1 - (predicted[k] - hits[k]) / others[k]
            n = int((self.truth[:, k] > 0).sum())
            found[label] = {
                name: Metric(value=float(value), direction="higher", kind="corpus", unit="fraction", n=n)
                for name, value in ratios.items()
            }
        return found


def score_masks(
    session: Scorer,
    *,
    kind: ScoresKind,
    inputs: Inputs,
    targets: NDArray[Any],
    items: Sequence[str],
    labels: Sequence[str],
    on_progress: Progress | None = None,
) -> Masks:
    """Score every image once, in batches small enough that their scores fit anywhere.

    Args:
        kind: what the graph's scores are.
        inputs: shape (n, height, width, channels), in the graph's own input dtype.
        targets: class index of each pixel, uint8 (n, height, width), 255 where there is none.
        items: n distinct item ids.
        labels: class names, one per score.
    Raises:
        BadData: empty or unequal lengths, an id twice, scores of another shape, one that is not finite, or an image without
            a labelled pixel.
    """
    n, size, classes = len(inputs), targets.shape[1:], len(labels)
    ids = checked_ids(n, targets, items)
    found = np.empty((n, *size), dtype=np.uint8)
    counts, nll = np.empty((n, classes, classes), dtype=np.int64), np.empty(n)
    for rows, scores in running.run(
        session,
        inputs,
        ids=ids,
        shape=(classes, *size),
        wanted="items, classes, height, width",
        batch_size=max(1, min(256, _SCORES_AT_ONCE // (classes * math.prod(size)))),
        on_progress=on_progress,
    ):
        check_finite(session.model, scores, ids[rows])
        found[rows] = scores.argmax(axis=1)
        losses = _nll(scores, targets[rows], kind)
        for row in range(rows.start, rows.stop):
            labelled = targets[row] != IGNORED
            truth, answer = targets[row][labelled].astype(np.int64), found[row][labelled]
            if not len(truth):
                raise BadData(f"item '{ids[row]}' has no labelled pixel")
            counts[row] = np.bincount(truth * classes + answer, minlength=classes**2).reshape(classes, classes)
            nll[row] = losses[row - rows.start][labelled].mean(dtype=np.float64)
    return Masks(
        item=ids,
        labels=tuple(labels),
        prediction=found,
        intersection=counts.diagonal(axis1=1, axis2=2).copy(),
        truth=counts.sum(axis=2),
        predicted=counts.sum(axis=1),
        nll=nll + 0.0,  # no -0.0 for a certain and right answer
        confusion=counts.sum(axis=0),
    )


def _nll(scores: NDArray[np.float32], targets: NDArray[Any], kind: ScoresKind) -> NDArray[np.float64]:
    """-log(probability of the label) of each pixel, (n, height, width); of pixels without label anything."""
    label = np.where(targets == IGNORED, 0, targets).astype(np.int64)[:, np.newaxis]
    own = np.take_along_axis(scores, label, axis=1)[:, 0].astype(np.float64)
    if kind == "probabilities":
        return np.asarray(-np.log(np.clip(own, CLIP, 1.0)))
    largest = scores.max(axis=1)
    total = np.exp((scores - largest[:, np.newaxis]).astype(np.float64)).sum(axis=1)
    return np.asarray(np.log(total) + largest - own)
