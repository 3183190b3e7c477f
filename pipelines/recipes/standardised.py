"""What stands in front of a network that wants standardised floats: it is part of the module, so it is part of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.recipes import Problem

_CHUNK = 4096


class Standardised(nn.Module):
    """A network behind its preprocessing.

    Args:
        network: takes float32 [n, channels, height, width] or [n, columns], each channel or column standardised.
        problem: whose raw items this takes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.network = network
        self.is_image = problem.image is not None
        wide = problem.input_shape[-1]
        self.register_buffer("mean", torch.zeros(wide))
        self.register_buffer("deviation", torch.ones(wide))
        # A category's number is no quantity: its mean would mean nothing.
        self._kept = [at for at, feature in enumerate(problem.features) if feature.kind == "categorical"]

    def learn(self, inputs: NDArray[Any]) -> None:
        """Take over mean and deviation of each channel or numeric column; a constant one is only centred."""
        wide = inputs.shape[-1]
        count, total, square = np.zeros(wide), np.zeros(wide), np.zeros(wide)
        for start in range(0, len(inputs), _CHUNK):
            rows = inputs[start : start + _CHUNK].reshape(-1, wide).astype(np.float64)
            known = ~np.isnan(rows)
            rows = np.where(known, rows, 0.0)
            count += known.sum(axis=0)
            total += rows.sum(axis=0)
            square += (rows**2).sum(axis=0)
        mean = total / np.maximum(count, 1)
        deviation = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0))
        mean[self._kept], deviation[self._kept] = 0.0, 1.0
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(np.where(deviation > 1e-8 * np.abs(mean), deviation, 1.0)))

    def forward(self, items: Tensor) -> Tensor:
        """Scores, float32 [n, labels], of raw items."""
        standard = (items.to(torch.float32) - self.mean) / self.deviation
        if self.is_image:
            standard = standard.permute(0, 3, 1, 2).contiguous()
        else:
            # NaN alone differs from itself; ONNX Runtime has Equal on CUDA for longer than IsNaN.
            standard = torch.where(standard != standard, 0.0, standard)
        scores: Tensor = self.network(standard)
        return scores
