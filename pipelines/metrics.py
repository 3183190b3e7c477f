"""Classification metrics, each with direction, n, 95 % interval and the value of guessing.

Counting metrics come from scikit-learn. What it lacks is here: the negative log likelihood in float64 (from logits by
log-softmax, because a float32 softmax turns a confident mistake into an infinite one), the calibration error, and
intervals. "Chance" is one thing throughout: the best guess that never looks at the item, knowing only how often each
class occurs in the items scored. A metric that is undefined on these items is left out and named in `omitted`: a NaN
would be an ERROR at the gate without saying why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score, precision_recall_fscore_support

from registry import corpus
from registry.records import Metric
from registry.stats import wilson as wilson_bounds

BINS = 15
# A float32 probability cannot say more than this: scikit-learn's own clipping point for float32 input.
CLIP = float(np.finfo(np.float32).eps)
_RESAMPLES = 2000


@dataclass(frozen=True)
class Report:
    """Metrics of one model on one set of items; `omitted` maps a metric that is undefined there to the reason."""

    metrics: dict[str, Metric]
    by_class: dict[str, dict[str, Metric]]
    omitted: dict[str, str]


@dataclass(frozen=True)
class CalibrationBin:
    """Items whose confidence lies in (lower, upper], with their mean confidence and accuracy; both NaN when n is 0."""

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: float


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Log-probabilities of logits of shape (n, classes), in float64, shifted so that nothing overflows."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def classification(
    *,
    label: NDArray[Any],
    prediction: NDArray[Any],
    nll: NDArray[np.float64],
    scores: NDArray[Any],
    labels: Sequence[str],
) -> Report:
    """All metrics of a classifier.

    Args:
        label, prediction: class indices, shape (n,), n >= 1.
        nll: -log(probability of the label), nats, shape (n,).
        scores: probabilities, shape (n, classes).
        labels: the class names, in the order of the scores' columns.
    """
    n = len(label)
    correct = label == prediction
    frequency = np.bincount(label, minlength=len(labels)) / n
    metrics = {
        "accuracy": _accuracy(correct, chance=float(frequency.max())),
        "nll": _nll(nll, chance=float(stats.entropy(frequency))),
        "f1_macro": _f1_macro(label, prediction, frequency),
        "ece": Metric(
            value=calibration_error(scores.max(axis=1), correct), direction="lower", kind="corpus", unit="fraction", n=n
        ),
    }
    omitted: dict[str, str] = {}
    columns = {"label": label, "prediction": prediction, "scores": scores}
    for name in ("precision_macro", "recall_macro"):
        found = corpus_metric(columns, name, direction="higher", unit="fraction", bounds=(0.0, 1.0))
        assert found is not None, "there is at least one class"
        metrics[name] = found
    absent = [name for name, share in zip(labels, frequency, strict=True) if share == 0]
    if absent:
        omitted["roc_auc"] = f"no item of class {', '.join(absent[:5])}{' and more' if len(absent) > 5 else ''}"
    elif len(labels) < 2:
        omitted["roc_auc"] = "one class alone has no curve"
    else:
        # Whoever guesses has the precision of the classes' shares, at every recall.
        shares = float(frequency[1] if len(labels) == 2 else frequency.mean())
        for name, chance in (("roc_auc", 0.5), ("pr_auc", shares)):
            area = corpus_metric(columns, name, direction="higher", unit="fraction", chance=chance, bounds=(0.0, 1.0))
            assert area is not None, "every class has an item"
            metrics[name] = area
    if "roc_auc" in omitted:
        omitted["pr_auc"] = omitted["roc_auc"]
    return Report(metrics, _by_class(label, prediction, nll, labels), omitted)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Two-sided 95 % Wilson interval of a proportion, n >= 1."""
    bounds = wilson_bounds(successes, n, alpha=0.025)
    return bounds.lower, bounds.upper


def calibration_bins(confidence: NDArray[Any], correct: NDArray[np.bool_], *, bins: int = BINS) -> list[CalibrationBin]:
    """Sort items into `bins` equally wide intervals of confidence, closed above; a confidence of 0 joins the first."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    wide = np.asarray(confidence, dtype=np.float64)
    which = np.clip(np.searchsorted(edges, wide, side="left") - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(which, weights=wide, minlength=bins) / counts
        accuracy = np.bincount(which, weights=correct, minlength=bins) / counts
    return [
        CalibrationBin(float(edges[i]), float(edges[i + 1]), int(counts[i]), float(mean_confidence[i]), float(accuracy[i]))
        for i in range(bins)
    ]


def calibration_error(confidence: NDArray[Any], correct: NDArray[np.bool_], *, bins: int = BINS) -> float:
    """Expected calibration error, L1: the mean over items of |accuracy - mean confidence| in the item's bin, a fraction.

    Source: Naeini et al. (2015), Guo et al. (2017).
    """
    filled = [one for one in calibration_bins(confidence, correct, bins=bins) if one.n]
    return sum(one.n * abs(one.accuracy - one.confidence) for one in filled) / len(confidence)


def _accuracy(correct: NDArray[np.bool_], *, chance: float | None) -> Metric:
    hits, n = int(correct.sum()), len(correct)
    return Metric(
        value=hits / n,
        direction="higher",
        kind="correctness",
        unit="fraction",
        n=n,
        column="correct",
        interval=wilson(hits, n),
        chance=chance,
    )


def _nll(nll: NDArray[np.float64], *, chance: float | None) -> Metric:
    return mean_metric(nll, column="nll", direction="lower", unit="nats", chance=chance)


def mean_metric(
    values: NDArray[np.float64], *, column: str, direction: Literal["higher", "lower"], unit: str, chance: float | None = None
) -> Metric:
    """The mean of per-item values, with Student's interval.

    Args:
        values: shape (n,), n >= 1; they stand in `column` of predictions.parquet.
    """
    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    return Metric(
        value=mean,
        direction=direction,
        kind="mean",
        unit=unit,
        n=n,
        column=column,
        interval=None if half is None else (mean - half, mean + half),
        chance=chance,
    )


def corpus_metric(
    columns: Mapping[str, NDArray[Any]],
    formula: str,
    *,
    direction: Literal["higher", "lower"],
    unit: str,
    chance: float | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Metric | None:
    """A metric of all items at once by its formula, with the interval that its influences give; None where it has no value.

    Args:
        columns: those of predictions.parquet that the formula needs.
        formula: a name that `registry.corpus.formula` knows.
        bounds: values beyond which there are none.
    """
    found = corpus.formula(formula)
    assert found is not None, formula
    prepared, n = found.prepare(columns), len(next(iter(columns.values())))
    value = prepared.value(n)
    if not np.isfinite(value):
        return None
    half = float(stats.norm.ppf(0.975) * np.sqrt((prepared.influence() ** 2).sum()) / n)
    return Metric(
        value=value,
        direction=direction,
        kind="corpus",
        unit=unit,
        n=n,
        formula=formula,
        interval=(max(bounds[0], value - half), min(bounds[1], value + half)),
        chance=chance,
    )


def _f1_macro(label: NDArray[Any], prediction: NDArray[Any], frequency: NDArray[np.float64]) -> Metric:
    """Unweighted mean of the F1 of every class that occurs as label or prediction (scikit-learn's `macro`)."""
    majority = float(frequency.max())
    return Metric(
        value=float(f1_score(label, prediction, average="macro", zero_division=0)),
        direction="higher",
        kind="corpus",
        unit="fraction",
        n=len(label),
        interval=_f1_interval(label, prediction, len(frequency)),
        chance=2 * majority / (1 + majority) / int((frequency > 0).sum()),
    )


def _f1_interval(label: NDArray[Any], prediction: NDArray[Any], classes: int) -> tuple[float, float]:
    """Percentile bootstrap over items: F1 knows an item only by its cell of the confusion matrix, so cells are drawn.

    Exactly the item bootstrap, at the price of the cells that occur instead of the items.
    """
    cells, counts = np.unique(label.astype(np.int64) * classes + prediction, return_counts=True)
    rows, columns = cells // classes, cells % classes
    random = np.random.default_rng(0)
    values = []
    for _ in range(_RESAMPLES):
        drawn = random.multinomial(len(label), counts / counts.sum())
        support = np.bincount(rows, weights=drawn, minlength=classes)
        predicted = np.bincount(columns, weights=drawn, minlength=classes)
        hits = np.bincount(rows, weights=drawn * (rows == columns), minlength=classes)
        occurring = support + predicted
        values.append(np.mean(2 * hits[occurring > 0] / occurring[occurring > 0]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _by_class(
    label: NDArray[Any], prediction: NDArray[Any], nll: NDArray[np.float64], labels: Sequence[str]
) -> dict[str, dict[str, Metric]]:
    """Per class that has items: accuracy within the class (its recall), nll, precision (if ever predicted), F1."""
    precision, _, f1, support = precision_recall_fscore_support(
        label, prediction, labels=np.arange(len(labels)), average=None, zero_division=0
    )
    found: dict[str, dict[str, Metric]] = {}
    for k, name in enumerate(labels):
        mine = label == k
        if not support[k]:
            continue
        found[name] = {
            "accuracy": _accuracy(prediction[mine] == k, chance=None),
            "nll": _nll(nll[mine], chance=None),
            "f1": Metric(value=float(f1[k]), direction="higher", kind="corpus", unit="fraction", n=int(support[k])),
        }
        predicted = int((prediction == k).sum())
        if predicted:
            found[name]["precision"] = Metric(
                value=float(precision[k]),
                direction="higher",
                kind="corpus",
                unit="fraction",
                n=predicted,
                interval=wilson(int((mine & (prediction == k)).sum()), predicted),
            )
    return found
