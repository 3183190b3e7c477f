"""Image regression: the convolutional network of the image classifier with one output per number to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.data.inputs import Inputs
from pipelines.recipes import Problem
from pipelines.recipes.image_classification import ConvNetOptions, convnet
from pipelines.recipes.images import Images
from pipelines.recipes.regression import Regression

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class ImageRegression(Regression, Images):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "image-regression"
    task: ClassVar[str] = "image-regression"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 64, "lr": 5e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 2000
    model_options = ConvNetOptions

    def network(self, problem: Problem, options: ConvNetOptions) -> nn.Module:
        """A network for images of the problem's shape."""
        return self.in_units(convnet(problem, options, outputs=problem.scores_shape[0]))

    def prepare(self, network: nn.Module, inputs: Inputs) -> None:
        """Mean and deviation of each channel."""
        from pipelines.recipes.rescaled import Rescaled

        assert isinstance(network, Rescaled)
        super().prepare(network.body, inputs)


RECIPE = ImageRegression()
