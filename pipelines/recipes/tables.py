"""What every recipe for tables shares: the perceptron, and what it has to know of the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.recipes import NoOptions, Options, Problem

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class PerceptronOptions(Options):
    """`model.*`: see `pipelines.recipes.perceptron.Perceptron`."""

    width: int = Field(default=64, ge=1, description="units of each hidden layer")
    depth: int = Field(default=2, ge=0, description="hidden layers; none makes it a logistic regression")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of the units dropped after each hidden layer")


def perceptron(problem: Problem, options: PerceptronOptions) -> nn.Module:
    """A network for the problem's columns with one output per class or per target."""
    from pipelines.recipes.perceptron import Perceptron

    return Perceptron(
        features=problem.features,
        classes=problem.scores_shape[0],
        width=options.width,
        depth=options.depth,
        dropout=options.dropout,
    )


class Tables:
    """The part of a `pipelines.recipes.Recipe` that does not depend on what is predicted of a row."""

    model_options = PerceptronOptions
    augment_options = NoOptions

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
