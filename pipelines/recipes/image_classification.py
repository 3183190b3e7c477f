"""Image classification: a small convolutional network, sized by the images, trained from scratch.

For images up to a few hundred pixels and hours, not days, on the machine at hand: MNIST in about a minute on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pipelines.recipes import Options, Problem
from pipelines.recipes.classification import Classification
from pipelines.recipes.images import Images

if TYPE_CHECKING:
    from torch import nn


class ConvNetOptions(Options):
    """`model.*`: see `pipelines.recipes.convnet.ConvNet`."""

    width: int = Field(default=16, ge=1, description="channels of the first layer; doubles from stage to stage")
    depth: int = Field(default=2, ge=1, description="convolutions in each stage")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the features dropped before the last layer")


def convnet(problem: Problem, options: ConvNetOptions, *, outputs: int) -> nn.Module:
    """A convolutional network for images of the problem's shape, float32 [n, outputs]."""
    from pipelines.recipes.convnet import ConvNet

    assert problem.image is not None, "an image problem has an image shape"
    return ConvNet(image=problem.image, classes=outputs, width=options.width, depth=options.depth, dropout=options.dropout)


class ImageClassification(Images, Classification):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "image-classification"
    task: ClassVar[str] = "image-classification"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 128, "lr": 5e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 1300
    model_options = ConvNetOptions

    def network(self, problem: Problem, options: ConvNetOptions) -> nn.Module:
        """A network for images of the problem's shape."""
        return convnet(problem, options, outputs=len(problem.labels))


RECIPE = ImageClassification()
