"""Image classification: a small convolutional network, sized by the images, trained from scratch.

For images up to a few hundred pixels and hours, not days, on the machine at hand: MNIST in about a minute on two CPU cores.
Varied by shifts only, because a shift changes the meaning of no image that we know of, whereas a mirrored 3 is no digit:
mirroring is offered for photographs and off by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.recipes import Options, Problem
from pipelines.recipes.classification import Classification

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class ConvNetOptions(Options):
    """`model.*`: see `pipelines.recipes.convnet.ConvNet`."""

    width: int = Field(default=16, ge=1, description="channels of the first layer; doubles from stage to stage")
    depth: int = Field(default=2, ge=1, description="convolutions in each stage")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the features dropped before the last layer")


class ImageAugmentOptions(Options):
    """`augment.*`: how training images are varied."""

    shift: int | None = Field(default=None, ge=0, description="largest shift, pixels; null: a fourteenth of the shorter side")
    mirror: bool = Field(default=False, description="mirror half of the images left to right")


class ImageClassification(Classification):
    """A `pipelines.recipes.Recipe`."""

    name: ClassVar[str] = "image-classification"
    task: ClassVar[str] = "image-classification"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 128, "lr": 5e-3, "weight_decay": 0.01}
    steps: ClassVar[int] = 1300
    model_options = ConvNetOptions
    augment_options = ImageAugmentOptions

    def network(self, problem: Problem, options: ConvNetOptions) -> nn.Module:
        """A network for images of the problem's shape."""
        from pipelines.recipes.convnet import ConvNet

        assert problem.image is not None, "an image problem has an image shape"
        return ConvNet(
            image=problem.image,
            classes=len(problem.labels),
            width=options.width,
            depth=options.depth,
            dropout=options.dropout,
        )

    def prepare(self, network: nn.Module, inputs: NDArray[np.uint8]) -> None:
        """Mean and deviation of each channel."""
        from pipelines.recipes.convnet import ConvNet

        assert isinstance(network, ConvNet)
        counts = np.zeros((inputs.shape[-1], 256), dtype=np.int64)
        for start in range(0, len(inputs), 1024):
            counts += _histogram(inputs[start : start + 1024])
        values, share = np.arange(256.0), counts / counts.sum(axis=1, keepdims=True)
        mean = share @ values
        network.set_statistics(mean=mean, deviation=np.sqrt(share @ values**2 - mean**2))

    def augment(self, batch: Tensor, options: ImageAugmentOptions, generator: Generator) -> Tensor:
        """Shift, and perhaps mirror, each image by its own draw; pixels shifted in repeat the edge."""
        import torch

        n, height, width, _ = batch.shape
        shift = min(height, width) // 14 if options.shift is None else options.shift
        if shift == 0 and not options.mirror:
            return batch
        # Only what is drawn goes over to the device: the places of all pixels would keep a GPU waiting at every step.
        rows = torch.arange(height, device=batch.device).expand(n, -1)
        columns = torch.arange(width, device=batch.device).expand(n, -1)
        if shift:
            drawn = torch.randint(-shift, shift + 1, (2, n, 1), generator=generator).to(batch.device, non_blocking=True)
            rows, columns = (rows + drawn[0]).clamp(0, height - 1), (columns + drawn[1]).clamp(0, width - 1)
        if options.mirror:
            mirrored = torch.rand((n, 1), generator=generator).to(batch.device, non_blocking=True) < 0.5
            columns = torch.where(mirrored, width - 1 - columns, columns)
        pixels = (rows[:, :, None] * width + columns[:, None, :]).reshape(n, -1)
        flat = batch.reshape(n, height * width, -1)
        return flat.gather(1, pixels[:, :, None].expand(-1, -1, flat.shape[2])).reshape(batch.shape)


def _histogram(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of the 256 values occurs in each channel: exact sums, whatever the order."""
    channels = images.shape[-1]
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)])


RECIPE = ImageClassification()
