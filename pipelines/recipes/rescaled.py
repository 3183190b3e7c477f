"""From standard units to the units of the targets, as the last step of a network, so that it is in the exported graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Rescaled(nn.Module):
    """A network of standard units, [n, targets], in units of its targets.

    Args:
        mean, deviation: of the training targets; one per target.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, body: nn.Module, *, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, inputs: Tensor) -> Tensor:
        """Values, float32 [n, targets], of raw inputs."""
        # In float32 even where the body computes in half: a mean of 1,000 and a deviation of 1 are one number in bfloat16.
        values: Tensor = self.body(inputs).float() * self.deviation + self.mean
        return values
