"""What a network for images begins with: raw pixels with channels last, standardised by what the training images are like."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class PixelNetwork(nn.Module):
    """A network that takes uint8 images, [n, height, width, channels]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def set_statistics(self, *, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> None:
        """Take over each channel's mean and standard deviation, in pixel values; a constant channel is only centred."""
        scale = np.where(deviation > 0, deviation, 1.0)
        self.mean.copy_(torch.tensor(mean).reshape(self.mean.shape))
        self.deviation.copy_(torch.tensor(scale).reshape(self.deviation.shape))

    def standardised(self, image: Tensor) -> Tensor:
        """Images as float32, [n, channels, height, width]."""
        # Contiguous, because a transposed batch makes CPU convolutions run in the layout that is twice as slow here.
        pixels = image.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        return (pixels - self.mean) / self.deviation
