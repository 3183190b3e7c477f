"""Tabular classification: a multilayer perceptron on columns that it cleans itself.

Imputation, standardisation and one-hot coding are part of the network, so whoever holds the exported graph holds the whole
model and cannot feed it columns prepared in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.recipes import Problem
from pipelines.recipes.classification import Classification
from pipelines.recipes.tables import PerceptronOptions, Tables, perceptron

if TYPE_CHECKING:
    from torch import nn


class TabularClassification(Tables, Classification):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "tabular-classification"
    task: ClassVar[str] = "tabular-classification"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 64, "lr": 5e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 3000

    def network(self, problem: Problem, options: PerceptronOptions) -> nn.Module:
        """A network for tables of the problem's columns."""
        return perceptron(problem, options)


RECIPE = TabularClassification()
