"""The figures' data says what the evaluation says: counts add up, curves enclose the area, the worst comes first."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from pipelines.figures import confusion, pr_curves, roc_curves, worst_mistakes


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 4000)
    scores = random.random((4000, 3)) + np.eye(3)[label]
    return label, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def test_confusion_counts_labels_by_row_and_predictions_by_column() -> None:
    counts = confusion(np.array([0, 0, 2]), np.array([0, 1, 1]), classes=3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_a_thinned_roc_curve_encloses_the_area(scored: tuple[np.ndarray, np.ndarray]) -> None:
    label, scores = scored
    curve = roc_curves(label, scores, ["a", "b", "c"])["b"]

    assert len(curve.x) <= 200
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert auc(curve.x, curve.y) == pytest.approx(roc_auc_score(label == 1, scores[:, 1]), abs=2e-3)


def test_a_thinned_pr_curve_encloses_the_average_precision(scored: tuple[np.ndarray, np.ndarray]) -> None:
    label, scores = scored
    curve = pr_curves(label, scores, ["a", "b", "c"])["b"]

    assert len(curve.x) <= 200
    assert (np.diff(curve.x) >= 0).all()
    assert auc(curve.x, curve.y) == pytest.approx(average_precision_score(label == 1, scores[:, 1]), abs=5e-3)


def test_a_class_without_items_has_no_curve(scored: tuple[np.ndarray, np.ndarray]) -> None:
    label, scores = scored
    kept = label != 1
    assert sorted(roc_curves(label[kept], scores[kept], ["a", "b", "c"])) == ["a", "c"]
    assert sorted(pr_curves(label[kept], scores[kept], ["a", "b", "c"])) == ["a", "c"]


def test_the_worst_mistake_comes_first_and_right_answers_never() -> None:
    columns = {
        "item": np.array(["t/0", "t/1", "t/2", "t/3"], dtype=object),
        "label": np.array([0, 0, 1, 1]),
        "prediction": np.array([0, 1, 0, 0]),
        "correct": np.array([True, False, False, False]),
        "nll": np.array([9.0, 1.0, 3.0, 3.0]),
        "confidence": np.array([0.5, 0.6, 0.9, 0.9], dtype=np.float32),
    }
    rows = worst_mistakes(columns, ["cat", "dog"], limit=2)

    assert [(row.item, row.label, row.prediction, row.nll) for row in rows] == [
        ("t/2", "dog", "cat", 3.0),
        ("t/3", "dog", "cat", 3.0),
    ]
