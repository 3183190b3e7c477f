"""Tabular regression: the perceptron of the tabular classifier with one output per number to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.data.inputs import Inputs
from pipelines.recipes import Problem
from pipelines.recipes.regression import Regression
from pipelines.recipes.tables import PerceptronOptions, Tables, perceptron

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TabularRegression(Regression, Tables):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "tabular-regression"
    task: ClassVar[str] = "tabular-regression"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 64, "lr": 5e-3, "weight_decay": 0.05}
    steps: ClassVar[int] = 2000

    def network(self, problem: Problem, options: PerceptronOptions) -> nn.Module:
        """A network for tables of the problem's columns."""
        return self.in_units(perceptron(problem, options))

    def prepare(self, network: nn.Module, inputs: Inputs) -> None:
        """Mean and deviation of each numeric column over its known values, and which columns have missing values."""
        from pipelines.recipes.rescaled import Rescaled

        assert isinstance(network, Rescaled)
        super().prepare(network.body, inputs)


RECIPE = TabularRegression()
