"""Two small real problems to train on: scikit-learn's digits as images, and its wines as a table with gaps and a category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_wine

from pipelines.config import TrainConfig, resolve
from pipelines.recipes import Feature, Problem
from pipelines.training import Trained, fit


@dataclass(frozen=True, kw_only=True)
class Given:
    """A problem with its train and test items."""

    problem: Problem
    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    test_inputs: NDArray[Any]
    test_targets: NDArray[np.int64]

    def config(self, *assignments: str) -> TrainConfig:
        return resolve(task=self.problem.task, assignments=["device=cpu", *assignments])

    def fit(self, *assignments: str, log: Any = lambda values, step: None, **others: Any) -> Trained:
        config = self.config(*assignments)
        return fit(self.problem, config, inputs=self.inputs, targets=self.targets, log=log, **others)


@cache
def digits() -> Given:
    data = load_digits()
    images = (data.images * 255 / 16).round().astype(np.uint8)[..., None]
    problem = Problem(task="image-classification", labels=tuple("0123456789"), image=(8, 8, 1))
    return _given(problem, images, data.target.astype(np.int64), train=1197)


@cache
def wines() -> Given:
    """13 columns: `alcohol` as a category of three (and a few unknown), every tenth `magnesium` missing."""
    data = load_wine()
    rows = data.data.astype(np.float32)
    rows[:, 0] = np.digitize(rows[:, 0], [12.5, 13.5])
    rows[::25, 0] = -1
    rows[::10, 4] = np.nan
    features = [Feature(name=name, kind="numeric") for name in data.feature_names]
    features[0] = Feature(name="alcohol", kind="categorical", categories=("light", "medium", "strong"))
    problem = Problem(
        task="tabular-classification", labels=tuple(str(name) for name in data.target_names), features=tuple(features)
    )
    return _given(problem, rows, data.target.astype(np.int64), train=118)


def weights(trained: Trained) -> Mapping[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in trained.network.state_dict().items()}


def _given(problem: Problem, inputs: NDArray[Any], targets: NDArray[np.int64], *, train: int) -> Given:
    order = np.random.default_rng(0).permutation(len(inputs))
    inputs, targets = inputs[order], targets[order]
    return Given(
        problem=problem,
        inputs=inputs[:train],
        targets=targets[:train],
        test_inputs=inputs[train:],
        test_targets=targets[train:],
    )
