"""What every recipe for images shares: centring by channel, and varying images by shifts and mirror images.

Varied by shifts only, unless told otherwise, because a shift changes the meaning of no image that we know of, whereas a
mirrored 3 is no digit: mirroring is offered for photographs and off by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.data.inputs import Inputs, chunks
from pipelines.recipes import Options

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


class ImageAugmentOptions(Options):
    """`augment.*`: how training images are varied."""

    shift: int | None = Field(default=None, ge=0, description="largest shift, pixels; null: a fourteenth of the shorter side")
    mirror: bool = Field(default=False, description="mirror half of the images left to right")


@runtime_checkable
class _Centres(Protocol):
    def set_statistics(self, *, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None: ...


class Images:
    """The part of a `pipelines.recipes.Recipe` that does not depend on what is predicted of an image."""

    augment_options = ImageAugmentOptions

    def prepare(self, network: nn.Module, inputs: Inputs) -> None:
        """Mean and deviation of each channel."""
        assert isinstance(network, _Centres)
        counts = np.zeros((inputs.shape[-1], 256), dtype=np.int64)
        for some in chunks(inputs):
            counts += _histogram(some)
        values, share = np.arange(256.0), counts / counts.sum(axis=1, keepdims=True)
        mean = share @ values
        network.set_statistics(mean=mean, deviation=np.sqrt(share @ values**2 - mean**2))

    def augment(self, batch: Tensor, options: ImageAugmentOptions, generator: Generator) -> Tensor:
        """Shift, and perhaps mirror, each image by its own draw; pixels shifted in repeat the edge."""
        (varied,) = moved((batch,), options, generator)
        return varied


def moved(parts: tuple[Tensor, ...], options: ImageAugmentOptions, generator: Generator) -> tuple[Tensor, ...]:
    """Shift and mirror tensors of shape [n, height, width, channels] alike, each item by its own draw."""
    import torch

    n, height, width, _ = parts[0].shape
    shift = min(height, width) // 14 if options.shift is None else options.shift
    if shift == 0 and not options.mirror:
        return parts
    # Only what is drawn goes over to the device: the places of all pixels would keep a GPU waiting at every step.
    device = parts[0].device
    rows, columns = (torch.arange(side, device=device).expand(n, -1) for side in (height, width))
    if shift:
        drawn = torch.randint(-shift, shift + 1, (2, n, 1), generator=generator).to(device, non_blocking=True)
        rows, columns = (rows + drawn[0]).clamp(0, height - 1), (columns + drawn[1]).clamp(0, width - 1)
    if options.mirror:
        mirrored = torch.rand((n, 1), generator=generator).to(device, non_blocking=True) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).reshape(n, -1)
    flats = [part.reshape(n, height * width, -1) for part in parts]
    found = [flat.gather(1, pixels[:, :, None].expand(-1, -1, flat.shape[2])) for flat in flats]
    return tuple(some.reshape(part.shape) for some, part in zip(found, parts, strict=True))


def _histogram(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of the 256 values occurs in each channel: exact sums, whatever the order."""
    channels = images.shape[-1]
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)])
