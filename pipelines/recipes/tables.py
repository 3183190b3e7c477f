"""What every recipe for tables shares: the perceptron, and what it has to know of the columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.data.inputs import Inputs, chunks
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

    def prepare(self, network: nn.Module, inputs: Inputs) -> None:
        """Mean and deviation of each numeric column over its known values, and which columns have missing values."""
        from pipelines.recipes.perceptron import Perceptron

        assert isinstance(network, Perceptron)
        columns = network.numeric.cpu().numpy()
        count, total, squares = np.zeros(len(columns), np.int64), np.zeros(len(columns)), np.zeros(len(columns))
        for wide in _columns(inputs, columns):
            count += (~np.isnan(wide)).sum(axis=0)
            total += np.nansum(wide, axis=0)
        known = np.maximum(count, 1)
        mean = total / known
        for wide in _columns(inputs, columns):
            squares += np.nansum((wide - mean) ** 2, axis=0)
        network.set_statistics(mean=mean, deviation=np.sqrt(squares / known), has_missing=np.asarray(count < len(inputs)))

    def augment(self, batch: Tensor, options: NoOptions, generator: Generator) -> Tensor:
        """The batch itself."""
        return batch


def _columns(inputs: Inputs, columns: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    return (some[:, columns].astype(np.float64) for some in chunks(inputs))
