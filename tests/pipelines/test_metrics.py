"""Metrics agree with the other library, intervals with their textbooks, and nothing is ever NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from pipelines import metrics
from pipelines.metrics import Report


def some_scores(n: int, classes: int, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Probabilities of a mediocre classifier, and the labels; classes occur unequally often."""
    random = np.random.default_rng(seed)
    label = random.choice(classes, size=n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[label]
    return np.exp(metrics.log_softmax(logits)).astype(np.float32), label.astype(np.int32)


def report(scores: NDArray[np.float32], label: NDArray[np.int32]) -> Report:
    return metrics.classification(
        label=label,
        prediction=scores.argmax(axis=1).astype(np.int32),
        nll=-np.log(scores[np.arange(len(label)), label].astype(np.float64)),
        scores=scores,
        labels=[f"class {k}" for k in range(scores.shape[1])],
    )


def test_every_metric_agrees_with_torchmetrics() -> None:
    scores, label = some_scores(3000, 5)
    found = {name: metric.value for name, metric in report(scores, label).metrics.items()}

    p, y = torch.from_numpy(scores), torch.from_numpy(label.astype(np.int64))
    assert found == pytest.approx(
        {
            "accuracy": float(multiclass_accuracy(p, y, num_classes=5, average="micro")),
            "nll": float(torch.nn.functional.nll_loss(p.double().log(), y)),
            "f1_macro": float(multiclass_f1_score(p, y, num_classes=5)),
            "roc_auc": float(multiclass_auroc(p, y, num_classes=5)),
            "pr_auc": float(multiclass_average_precision(p, y, num_classes=5)),
            "ece": float(multiclass_calibration_error(p, y, num_classes=5, n_bins=15, norm="l1")),
            "precision_macro": float(multiclass_precision(p, y, num_classes=5)),
            "recall_macro": float(multiclass_recall(p, y, num_classes=5)),
        },
        abs=1e-6,
    )


def test_every_metric_of_a_class_agrees_with_torchmetrics() -> None:
    scores, label = some_scores(3000, 5)
    by_class = report(scores, label).by_class

    p, y = torch.from_numpy(scores), torch.from_numpy(label.astype(np.int64))
    for name, theirs in {"accuracy": multiclass_recall, "precision": multiclass_precision, "f1": multiclass_f1_score}.items():
        ours = [by_class[f"class {k}"][name].value for k in range(5)]
        assert ours == pytest.approx(theirs(p, y, num_classes=5, average="none").tolist(), abs=1e-6)
    assert [by_class[f"class {k}"]["accuracy"].n for k in range(5)] == np.bincount(label).tolist()


def test_two_classes_have_the_area_of_class_one() -> None:
    scores, label = some_scores(500, 2)
    theirs = binary_auroc(torch.from_numpy(scores[:, 1]), torch.from_numpy(label.astype(np.int64)))
    assert report(scores, label).metrics["roc_auc"].value == pytest.approx(float(theirs), abs=1e-6)


def test_a_confident_mistake_has_a_finite_nll() -> None:
    log_probability = metrics.log_softmax(np.array([[1000.0, -1000.0]], dtype=np.float32))
    assert log_probability.tolist() == [[0.0, -2000.0]]


def test_log_softmax_agrees_with_torch() -> None:
    logits = np.random.default_rng(0).normal(scale=20, size=(100, 10)).astype(np.float32)
    theirs = torch.log_softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    np.testing.assert_allclose(metrics.log_softmax(logits), theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "interval"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        pytest.param(81, 263, (0.2553, 0.3662), id="81-of-263"),
        pytest.param(15, 148, (0.0624, 0.1605), id="15-of-148"),
        pytest.param(0, 20, (0.0, 0.1611), id="0-of-20"),
        pytest.param(1, 29, (0.0061, 0.1718), id="1-of-29"),
    ],
)
def test_the_wilson_interval_is_the_textbooks(successes: int, n: int, interval: tuple[float, float]) -> None:
    assert metrics.wilson(successes, n) == pytest.approx(interval, abs=5e-5)


def test_chance_is_what_the_best_constant_guess_scores() -> None:
    _, label = some_scores(1000, 4)
    frequency = np.bincount(label) / len(label)
    guess = report(np.tile(frequency.astype(np.float32), (len(label), 1)), label).metrics

    for name in ("accuracy", "nll", "f1_macro", "roc_auc"):
        assert guess[name].value == pytest.approx(guess[name].chance, abs=1e-6), name
    assert guess["accuracy"].chance == frequency.max()


def test_the_interval_of_f1_is_the_bootstrap_over_items() -> None:
    scores, label = some_scores(400, 3)
    prediction = scores.argmax(axis=1)
    random = np.random.default_rng(1)
    draws = [random.integers(0, len(label), len(label)) for _ in range(400)]
    values = [f1_score(label[draw], prediction[draw], average="macro") for draw in draws]

    low, high = report(scores, label).metrics["f1_macro"].interval or (math.nan, math.nan)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.012)


def test_the_interval_of_the_area_is_delongs() -> None:
    scores, label = some_scores(120, 2)
    positive, negative = scores[label == 1, 1], scores[label == 0, 1]
    beats = (positive[:, None] > negative).astype(float) + 0.5 * (positive[:, None] == negative)
    area = beats.mean()
    spread = sum(((side - area) ** 2).sum() / len(side) ** 2 for side in (beats.mean(axis=1), beats.mean(axis=0)))
    half = 1.959964 * math.sqrt(spread)

    assert report(scores, label).metrics["roc_auc"].interval == pytest.approx((area - half, area + half), abs=1e-6)


def test_the_interval_of_the_mean_area_is_the_jackknifes() -> None:
    scores, label = some_scores(150, 3)

    def mean_area(kept: NDArray[np.bool_]) -> float:
        return float(np.mean([roc_auc_score(label[kept] == k, scores[kept, k]) for k in range(3)]))

    n = len(label)
    values = np.array([mean_area(np.arange(n) != left_out) for left_out in range(n)])
    half = 1.959964 * math.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
    low, high = report(scores, label).metrics["roc_auc"].interval or (math.nan, math.nan)
    assert (high - low) / 2 == pytest.approx(half, rel=0.03)


def test_a_class_without_items_is_left_out_and_the_lost_metric_is_named() -> None:
    scores, label = some_scores(200, 3)
    found = report(scores[label != 1], label[label != 1])

    assert found.omitted == dict.fromkeys(("roc_auc", "pr_auc"), "no item of class class 1")
    assert {"roc_auc", "pr_auc"} & set(found.metrics) == set()
    assert sorted(found.by_class) == ["class 0", "class 2"]


def test_a_class_never_predicted_has_no_precision() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], dtype=np.float32)
    assert sorted(report(scores, np.array([0, 1], dtype=np.int32)).by_class["class 1"]) == ["accuracy", "f1", "nll"]


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        pytest.param([[0.7, 0.3]], [0], id="one-item"),
        pytest.param([[0.7, 0.3], [0.6, 0.4]], [0, 0], id="one-class-only"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], [0, 1], id="all-right-and-certain"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], [0, 1], id="all-tied"),
        pytest.param([[1.0], [1.0]], [0, 0], id="a-single-class"),
    ],
)
def test_no_number_is_ever_nan(scores: list[list[float]], label: list[int]) -> None:
    found = report(np.array(scores, dtype=np.float32), np.array(label, dtype=np.int32))
    numbers = [metric for group in (found.metrics, *found.by_class.values()) for metric in group.values()]
    assert all(math.isfinite(metric.value) and all(map(math.isfinite, metric.interval or ())) for metric in numbers)


def test_calibration_bins_close_above_and_keep_every_item() -> None:
    confidence = np.array([0.0, 0.5, 0.50001, 1.0])
    bins = metrics.calibration_bins(confidence, np.array([True, False, True, True]), bins=2)

    assert [(one.n, one.accuracy) for one in bins] == [(2, 0.5), (2, 1.0)]


def test_a_calibrated_model_has_no_calibration_error() -> None:
    confidence = np.array([0.75, 0.75, 0.75, 0.75])
    assert metrics.calibration_error(confidence, np.array([True, True, True, False])) == 0.0
