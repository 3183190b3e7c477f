"""Corpus metrics agree with scikit-learn, for weights with resampled items, and know how far each item moves them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sklearn_metrics

from registry import means, resampling
from registry.corpus import FORMULAS
from registry.resampling import Statistic, Unstable

N, CLASSES = 300, 3


def columns(name: str, *, seed: int = 0, n: int = N) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    if name in ("rmse", "r2"):
        label = random.normal(size=n)
        return {"label": label, "prediction": label + 0.5 * random.standard_t(5, size=n)}
    if name == "r2_mean":
        labels = random.normal(size=(n, 2)) * [1.0, 50.0]
        return {"labels": labels, "predictions": labels + random.normal(size=(n, 2)) * [0.3, 40.0]}
    if name in ("mean_iou", "mean_dice", "sensitivity", "specificity"):
        return _counted(*_masks(random, n))
    label = random.integers(0, CLASSES, size=n)
    scores = random.random((n, CLASSES)) + 0.8 * np.eye(CLASSES)[label] * random.random((n, 1))
    scores = (scores / scores.sum(axis=1, keepdims=True)).round(2)  # ties
    prediction = scores.argmax(axis=1)
    return {
        "label": label,
        "prediction": prediction,
        "scores": scores,
        "confidence": scores.max(axis=1),
        "correct": prediction == label,
    }


def _masks(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of 12 pixels and answers to them, mostly right."""
    truth = random.integers(0, CLASSES, size=(n, 12))
    return truth, np.where(random.random((n, 12)) < 0.7, truth, random.integers(0, CLASSES, size=(n, 12)))


def _counted(truth: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:
    classes = np.arange(CLASSES)[:, np.newaxis, np.newaxis]
    in_truth, in_answer = truth == classes, answer == classes
    counts = {"intersection": in_truth & in_answer, "truth": in_truth, "predicted": in_answer}
    return {name: found.sum(axis=2).T for name, found in counts.items()} | {"_truth": truth, "_answer": answer}


def by_sklearn(name: str, of: dict[str, np.ndarray]) -> float:
    def curves(area: object) -> float:
        return float(np.mean([area(of["label"] == k, of["scores"][:, k]) for k in range(CLASSES)]))  # type: ignore[operator]

    pixels = [of[name].ravel() for name in ("_truth", "_answer") if name in of]
    return {
        "f1_macro": lambda: float(sklearn_metrics.f1_score(of["label"], of["prediction"], average="macro")),
        "roc_auc": lambda: curves(sklearn_metrics.roc_auc_score),
        "pr_auc": lambda: curves(sklearn_metrics.average_precision_score),
        "precision_macro": lambda: float(sklearn_metrics.precision_score(of["label"], of["prediction"], average="macro")),
        "recall_macro": lambda: float(sklearn_metrics.recall_score(of["label"], of["prediction"], average="macro")),
        "r2_mean": lambda: float(sklearn_metrics.r2_score(of["labels"], of["predictions"])),
        "mean_iou": lambda: float(sklearn_metrics.jaccard_score(*pixels, average="macro")),
        "mean_dice": lambda: float(sklearn_metrics.f1_score(*pixels, average="macro")),
        "sensitivity": lambda: float(sklearn_metrics.recall_score(*pixels, average="macro")),
        "specificity": lambda: np.mean(
            [sklearn_metrics.recall_score(*(part != k for part in pixels)) for k in range(CLASSES)]
        ).item(),
        "rmse": lambda: float(np.sqrt(sklearn_metrics.mean_squared_error(of["label"], of["prediction"]))),
        "r2": lambda: float(sklearn_metrics.r2_score(of["label"], of["prediction"])),
    }[name]()


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "ece"])
def test_a_formula_agrees_with_scikit_learn(name: str) -> None:
    of = columns(name)
    assert FORMULAS[name].prepare(of).value(N) == pytest.approx(by_sklearn(name, of), abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_weights_are_items_drawn_that_often(name: str) -> None:
    of = columns(name)
    weights = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N), size=3).astype(np.float64)
    drawn = [np.repeat(np.arange(N), row.astype(int)) for row in weights]
    expected = [FORMULAS[name].prepare({key: values[some] for key, values in of.items()}).value(N) for some in drawn]
    assert FORMULAS[name].prepare(of).of(weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_influence_is_how_far_an_item_moves_the_value(name: str) -> None:
    prepared = FORMULAS[name].prepare(columns(name))
    weights = np.ones((20, N))
    weights[np.arange(20), np.arange(20)] += 1e-5
    moved = (prepared.of(weights) - prepared.value(N)) / 1e-5 * N
    assert prepared.influence()[:20] == pytest.approx(moved, abs=1e-5)
    assert prepared.influence().mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_bootstrap_spreads_as_the_influences_say(name: str) -> None:
    prepared = FORMULAS[name].prepare(columns(name, n=600))
    statistic = Statistic(value=prepared.value(600), of=prepared.of, influence=prepared.influence())
    spread = resampling.replicates(statistic, clusters=None, resamples=600).std()
    assert means.units(statistic.influence).error == pytest.approx(spread, rel=0.15)


def test_cells_are_the_same_bootstrap_as_items() -> None:
    of = columns("f1_macro")
    formula = FORMULAS["f1_macro"]
    first, counts = resampling.cells(of["label"], of["prediction"])
    in_cells = formula.prepare({name: of[name][first] for name in formula.columns})
    assert in_cells.of(counts[np.newaxis].astype(float))[0] == pytest.approx(formula.prepare(of).value(N))
    found = []
    for kernel, sizes in ((formula.prepare(of), None), (in_cells, counts)):
        statistic = Statistic(value=0.0, of=kernel.of, influence=formula.prepare(of).influence(), counts=sizes)
        found.append(np.quantile(resampling.replicates(statistic, clusters=None), [0.05, 0.5, 0.95]))
    assert found[0] == pytest.approx(found[1], abs=0.006)


def test_the_bounds_are_the_wider_of_t_and_scipy_s_bca() -> None:
    of = columns("rmse", n=100)
    prepared = FORMULAS["rmse"].prepare(of)
    statistic = Statistic(value=prepared.value(100), of=prepared.of, influence=prepared.influence())
    errors = (of["prediction"] - of["label"],)
    theirs = scipy_stats.bootstrap(
        errors, lambda x, axis: np.sqrt((x**2).mean(axis=axis)), n_resamples=9999, confidence_level=0.9, rng=0
    ).confidence_interval
    student = means.student(means.units(statistic.value + statistic.influence), alpha=0.05)
    found = resampling.interval(statistic, alpha=0.05).interval
    assert found.lower == pytest.approx(min(theirs.low, student.lower), abs=0.006)
    assert found.upper == pytest.approx(max(theirs.high, student.upper), abs=0.006)


def test_resamples_that_lose_a_class_are_counted_and_too_many_are_refused() -> None:
    of = columns("roc_auc")
    of["label"] = np.where(np.arange(N) < 2, 1, 0)
    of["scores"] = of["scores"][:, :2]
    prepared = FORMULAS["roc_auc"].prepare(of)
    statistic = Statistic(value=prepared.value(N), of=prepared.of, influence=prepared.influence())
    with pytest.raises(Unstable, match=r"of 2,000 resamples have no value, too few items of some class"):
        resampling.interval(statistic, alpha=0.05)
