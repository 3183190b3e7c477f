"""Tabular classification: a multilayer perceptron on columns that it cleans itself.

Imputation, standardisation and one-hot coding are part of the network, so whoever holds the exported graph holds the whole
model and cannot feed it columns prepared in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.recipes import NoOptions, Options, Problem
from pipelines.recipes.classification import Classification

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class PerceptronOptions(Options):
    """`model.*`: see `pipelines.recipes.perceptron.Perceptron`."""

    width: int = Field(default=64, ge=1, description="units of each hidden layer")
    depth: int = Field(default=2, ge=0, description="hidden layers; none makes it a logistic regression")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of the units dropped after each hidden layer")


class TabularClassification(Classification):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "tabular-classification"
    task: ClassVar[str] = "tabular-classification"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 64, "lr": 5e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 3000
    model_options = PerceptronOptions
    augment_options = NoOptions

    def network(self, problem: Problem, options: PerceptronOptions) -> nn.Module:
        """A network for tables of the problem's columns."""
        from pipelines.recipes.perceptron import Perceptron

        return Perceptron(
            features=problem.features,
            classes=len(problem.labels),
            width=options.width,
            depth=options.depth,
            dropout=options.dropout,
        )

    def prepare(self, network: nn.Module, inputs: NDArray[np.float32]) -> None:
        """Mean and deviation of each numeric column over its known values, and which columns have missing values."""
        from pipelines.recipes.perceptron import Perceptron

        assert isinstance(network, Perceptron)
        wide = inputs[:, network.numeric.cpu().numpy()].astype(np.float64)
        known = ~np.isnan(wide)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, wide, 0.0).sum(axis=0) / count
        variance = (np.where(known, wide - mean, 0.0) ** 2).sum(axis=0) / count
        network.set_statistics(mean=mean, deviation=np.sqrt(variance), has_missing=np.asarray(~known.all(axis=0)))

    def augment(self, batch: Tensor, options: NoOptions, generator: Generator) -> Tensor:
        """The batch itself."""
        return batch


RECIPE = TabularClassification()
