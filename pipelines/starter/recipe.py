"""A recipe of your own, to begin with: what `reg train --recipe recipe.py:Recipe` trains.

    reg train --dataset mnist:latest --recipe recipe.py:Recipe --set model.width=64

`build` is all that is needed. Further methods of `BaseRecipe` that you may write yourself: `read` (other training items than
the dataset's split `train`), `augment`, `loss`, `metrics`, and `network` and `prepare`, for raw items instead of standardised.
"""

from math import prod

from pydantic import Field
from torch import nn

from pipelines.recipes import Options, Problem
from pipelines.recipes.base import BaseRecipe


class ModelOptions(Options):
    """`--set model.width=128`"""

    width: int = Field(default=32, ge=1, description="units of the hidden layer")


class Recipe(BaseRecipe):
    steps = 1000
    model_options = ModelOptions

    def build(self, problem: Problem, options: ModelOptions) -> nn.Module:
        inputs = prod(problem.input_shape)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, options.width),
            nn.ReLU(),
            nn.Linear(options.width, len(problem.labels)),
        )
