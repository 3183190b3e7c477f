"""The data behind an evaluation's figures, as plain arrays and rows: whoever draws them needs no metric library.

Curves are thinned to a few hundred points, because a figure of ten thousand is only slower, never clearer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

POINTS = 200


@dataclass(frozen=True)
class Curve:
    """One class against the rest: `x`, `y` of shape (points,), from left to right."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class Mistake(NamedTuple):
    """One wrongly classified item; `confidence` is the probability of the wrong answer, `nll` in nats."""

    item: str
    label: str
    prediction: str
    confidence: float
    nll: float


def confusion(label: NDArray[Any], prediction: NDArray[Any], *, classes: int) -> NDArray[np.int64]:
    """Counts of shape (classes, classes): row = label, column = prediction."""
    return np.asarray(confusion_matrix(label, prediction, labels=np.arange(classes)), dtype=np.int64)


def roc_curves(label: NDArray[Any], scores: NDArray[Any], labels: Sequence[str], *, points: int = POINTS) -> dict[str, Curve]:
    """False positive rate (x) against true positive rate (y), for each class that some items have and some have not."""
    curves = {}
    for k, name in _separable(label, labels):
        x, y, _ = roc_curve(label == k, scores[:, k])
        curves[name] = _thinned(x, y, points)
    return curves


def pr_curves(label: NDArray[Any], scores: NDArray[Any], labels: Sequence[str], *, points: int = POINTS) -> dict[str, Curve]:
    """Recall (x) against precision (y), for each class that some items have and some have not."""
    curves = {}
    for k, name in _separable(label, labels):
        y, x, _ = precision_recall_curve(label == k, scores[:, k], drop_intermediate=True)
        curves[name] = _thinned(x[::-1], y[::-1], points)
    return curves


def worst_mistakes(columns: Mapping[str, NDArray[Any]], labels: Sequence[str], *, limit: int = 50) -> list[Mistake]:
    """The wrong items with the highest nll, worst first; ties in item order.

    Args:
        columns: those of predictions.parquet.
    """
    wrong = np.flatnonzero(~columns["correct"])
    order = wrong[np.argsort(-columns["nll"][wrong], kind="stable")][:limit]
    return [
        Mistake(
            item=str(columns["item"][i]),
            label=labels[columns["label"][i]],
            prediction=labels[columns["prediction"][i]],
            confidence=float(columns["confidence"][i]),
            nll=float(columns["nll"][i]),
        )
        for i in order
    ]


def _separable(label: NDArray[Any], labels: Sequence[str]) -> list[tuple[int, str]]:
    counts = np.bincount(label, minlength=len(labels))
    return [(k, name) for k, name in enumerate(labels) if 0 < counts[k] < len(label)]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64], points: int) -> Curve:
    """Keep the ends and evenly spread points between them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(points, len(x))).round().astype(int))
    return Curve(np.asarray(x[kept], dtype=np.float64), np.asarray(y[kept], dtype=np.float64))
