"""What a person looks at on the page of a run: headline numbers, charts, and tables of items with their pictures.

An evaluation shows what its task is looked at by: a classifier its confusion, curves, calibration and worst mistakes; masks
their overlays beside the truth, the worst images first; a regression its residuals. (Where a network looked is shown by its
training.) All of it is for looking; what is decided on stands in the artifacts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines import plots
from pipelines.data.contents import Split
from pipelines.figures import pr_curves, roc_curves, worst_mistakes
from pipelines.job import Job
from pipelines.metrics import calibration_bins, calibration_error
from pipelines.overlays import in_colour, tinted
from pipelines.regression import Values
from pipelines.scoring import Evaluated, Predictions
from pipelines.segmentation import Masks

ITEMS = 48  # rows of a table with pictures
_FIGURES = 8  # targets with a figure of their own


def show(job: Job, done: Evaluated, split: Split, *, labels: Sequence[str]) -> None:
    """Log what an evaluation has to show.

    Args:
        split: the items that were scored, in the order of the predictions.
        labels: names of the classes, none for a regression.
    """
    job.summarise({name: metric.value for name, metric in done.evaluation.metrics.items()})
    match done.predictions:
        case Predictions() as found:
            _classes(job, found, split, labels)
        case Masks() as found:
            _masks(job, found, split, labels)
        case Values() as found:
            _values(job, found, split)


def _classes(job: Job, found: Predictions, split: Split, labels: Sequence[str]) -> None:
    job.confusion_matrix("confusion_matrix", targets=found.label, predictions=found.prediction, labels=labels)
    for key, x, y, curves in (
        ("roc", "false positive rate", "true positive rate", roc_curves(found.label, found.scores, labels)),
        ("precision_recall", "recall", "precision", pr_curves(found.label, found.scores, labels)),
    ):
        job.lines(key, x=x, y=y, curves={name: (curve.x, curve.y) for name, curve in curves.items()})
    bins = calibration_bins(found.confidence, found.correct)
    filled = [one for one in bins if one.n]
    measured = (np.array([one.confidence for one in filled]), np.array([one.accuracy for one in filled]))
    ideal = np.array([0.0, 1.0])
    job.lines("calibration", x="confidence", y="accuracy", curves={"model": measured, "perfect": (ideal, ideal)})
    ece = calibration_error(found.confidence, found.correct)
    job.images("reliability", [(plots.reliability(bins, ece=ece), f"ECE {ece:.4f} over {len(found.label)} items")])
    position = {item: at for at, item in enumerate(split.items)}
    images = split.inputs.ndim == 4
    job.table(
        "worst_mistakes",
        ["item", *(["image"] if images else []), "label", "prediction", "confidence", "nll"],
        [
            [m.item, *([split.inputs[position[m.item]]] if images else []), m.label, m.prediction, m.confidence, m.nll]
            for m in worst_mistakes(found.columns(), labels)
        ],
    )
    job.table(
        "predictions",
        ["item", *(["image"] if images else []), "label", "prediction", "confidence", "correct"],
        [
            [
                found.item[at],
                *_picture(split, at),
                labels[found.label[at]],
                labels[found.prediction[at]],
                found.confidence[at],
                found.correct[at],
            ]
            for at in _spread(len(split), ITEMS)
        ],
    )


def _masks(job: Job, found: Masks, split: Split, labels: Sequence[str]) -> None:
    job.confusion_counts("confusion_matrix", found.confusion, labels=labels)
    columns = found.columns()
    worst = np.argsort(columns["dice"], kind="stable")[: ITEMS // 2]
    rows = [*worst.tolist(), *(at for at in _spread(len(split), ITEMS // 2) if at not in set(worst.tolist()))]
    job.table(
        "predictions",
        ["item", "image", "truth", "prediction", "dice", "iou", "pixel accuracy"],
        [
            [
                found.item[at],
                in_colour(split.inputs[at]),
                tinted(split.inputs[at], split.targets[at]),
                tinted(split.inputs[at], found.prediction[at]),
                *(columns[name][at] for name in ("dice", "iou", "pixel_accuracy")),
            ]
            for at in rows
        ],
    )
    job.masks(
        "masks",
        [
            (split.inputs[at], {"truth": split.targets[at], "prediction": found.prediction[at]}, str(found.item[at]))
            for at in rows[: ITEMS // 4]
        ],
        labels=labels,
    )


def _values(job: Job, found: Values, split: Split) -> None:
    figures = [
        (plots.residuals(found.label[:, k], found.prediction[:, k], name=name), name)
        for k, name in enumerate(found.names[:_FIGURES])
    ]
    job.images("residuals", figures)
    size = np.abs(found.error / found.spread).mean(axis=1)
    images = split.inputs.ndim == 4
    for key, rows in (
        ("worst_predictions", np.argsort(-size, kind="stable")[:ITEMS].tolist()),
        ("predictions", _spread(len(split), ITEMS)),
    ):
        words = [f"{word}{suffix}" for suffix in found.suffixes for word in ("label", "prediction", "error")]
        job.table(
            key,
            ["item", *(["image"] if images else []), *words],
            [[found.item[at], *_picture(split, at), *_numbers(found, at)] for at in rows],
        )


def _numbers(found: Values, at: int) -> list[float]:
    return [float(part[at, k]) for k in range(len(found.names)) for part in (found.label, found.prediction, found.error)]


def _picture(split: Split, at: int) -> list[NDArray[np.uint8]]:
    return [in_colour(split.inputs[at])] if split.inputs.ndim == 4 else []


def _spread(items: int, rows: int) -> list[int]:
    """Positions all over the items, evenly."""
    spread: list[int] = np.unique(np.linspace(0, items - 1, min(items, rows)).round().astype(int)).tolist()
    return spread
