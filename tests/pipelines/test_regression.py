"""Scores of numbers agree with torchmetrics, and each says how two models are compared on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from pipelines.regression import Values
from registry import corpus
from registry.errors import BadData
from registry.evidence import read_evaluation, write_evaluation
from registry.records import Evaluation, Pinned, Runtime, Scored
from registry.scores import Scores

N = 200


def values(*names: str) -> Values:
    random = np.random.default_rng(0)
    label = random.normal(size=(N, len(names))) * 10.0 ** np.arange(len(names)) + 1000
    # As a graph gives them: float32.
    prediction = (label + 0.4 * random.normal(size=label.shape)).astype(np.float32).astype(np.float64)
    ids = np.array([f"test/{at}" for at in range(N)], dtype=object)
    return Values(item=ids, names=names, label=label, prediction=prediction)


def tensors(found: Values, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(found.prediction[:, k].copy()), torch.from_numpy(found.label[:, k].copy())


def test_every_metric_agrees_with_torchmetrics() -> None:
    found = values("price")
    metrics = found.report().metrics
    pair = tensors(found, 0)
    assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(
        {
            "mae": float(mean_absolute_error(*pair)),
            "mse": float(mean_squared_error(*pair)),
            "rmse": float(mean_squared_error(*pair, squared=False)),
            "r2": float(r2_score(*pair)),
            "mae_scaled": float(mean_absolute_error(*pair)) / found.label.std(),
        },
        rel=1e-6,
    )
    assert {name: (metric.direction, metric.unit) for name, metric in metrics.items()} == {
        "mae": ("lower", "price"),
        "mse": ("lower", "price²"),
        "rmse": ("lower", "price"),
        "r2": ("higher", "fraction"),
        "mae_scaled": ("lower", "standard deviations"),
    }


def test_several_targets_have_metrics_of_their_own_and_the_mean_r2() -> None:
    found = values("x", "y")
    metrics = found.report().metrics
    assert metrics["mae_y"].value == pytest.approx(float(mean_absolute_error(*tensors(found, 1))))
    assert metrics["rmse_x"].value == pytest.approx(float(mean_squared_error(*tensors(found, 0), squared=False)))
    both = torch.from_numpy(found.prediction), torch.from_numpy(found.label)
    assert metrics["r2"].value == pytest.approx(float(r2_score(*both, multioutput="uniform_average")))
    assert metrics["mae_scaled"].value == pytest.approx((np.abs(found.error) / found.label.std(axis=0)).mean())


def test_a_gate_computes_every_metric_again_from_the_files(tmp_path: Path) -> None:
    found = values("x", "y, in €")
    metrics = found.report().metrics
    runtime = Runtime(device="cpu", device_name="cpu", provider="CPU", providers=("CPU",), versions={}, fingerprint="sha256:0")
    pinned = Pinned(reference="a/b/c:v0", digest="md5:00")
    dataset = Scored(reference="a/b/d:v0", digest="md5:01", split="test", items=N, task="tabular-regression")
    evaluation = Evaluation(model=pinned, dataset=dataset, runtime=runtime, metrics=metrics)
    read = Scores("candidate", read_evaluation(write_evaluation(tmp_path / "e", evaluation, found.columns())))
    assert len(metrics) == 10
    for name, metric in metrics.items():
        if metric.kind == "mean":
            assert read.values(name).mean() == pytest.approx(metric.value)
        else:
            formula, columns = read.inputs(name)
            assert formula.prepare(columns).value(N) == pytest.approx(metric.value, abs=1e-9)


def test_labels_that_are_all_alike_have_no_r2() -> None:
    found = values("x")
    alike = Values(item=found.item, names=found.names, label=np.full((N, 1), 3.0), prediction=found.prediction)
    report = alike.report()
    assert report.omitted == {"r2": "all labels of x are alike"}
    assert "r2" not in report.metrics


def test_perfect_answers_have_errors_of_zero() -> None:
    found = values("x")
    metrics = Values(item=found.item, names=found.names, label=found.label, prediction=found.label).report().metrics
    assert {name: metric.value for name, metric in metrics.items()} == {
        **dict.fromkeys(("mae", "mse", "rmse", "mae_scaled"), 0.0),
        "r2": 1.0,
    }


@pytest.mark.parametrize("name", ["nonsense:x", "nonsense", ":x", ""])
def test_a_formula_that_is_none_is_not_found(name: str) -> None:
    assert corpus.formula(name) is None


def test_an_interval_covers_the_value_of_the_population() -> None:
    """300 samples of 100 items: a 95 % interval misses the true R² and RMSE of the noise in about one of twenty."""
    random, misses = np.random.default_rng(1), np.zeros(2)
    for _ in range(300):
        label = random.normal(size=(100, 1))
        prediction = label + 0.5 * random.normal(size=(100, 1))
        ids = np.array([str(at) for at in range(100)], dtype=object)
        metrics = Values(item=ids, names=("x",), label=label, prediction=prediction).report().metrics
        for at, (name, truth) in enumerate((("rmse", 0.5), ("r2", 0.75))):
            interval = metrics[name].interval
            assert interval is not None
            misses[at] += not interval[0] <= truth <= interval[1]
    assert (misses / 300 < 0.09).all()
    assert (misses / 300 > 0.02).all()


def test_numbers_for_other_targets_are_refused() -> None:
    from pipelines.regression import score_values

    class Nothing:
        model = Path("model.onnx")

        @property
        def runtime(self) -> Runtime:
            raise AssertionError

        def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            raise AssertionError

        def run_each(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            return map(self.run, batches)

    with pytest.raises(BadData, match=r"there are \[2\] numbers per item for the targets x"):
        score_values(
            Nothing(), inputs=np.zeros((3, 1), np.float32), targets=np.zeros((3, 2)), items="abc", names=("x",), batch_size=2
        )
