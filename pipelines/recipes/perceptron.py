"""The multilayer perceptron of the tabular recipe: raw columns in, logits out.

A missing number becomes the column's mean and raises a flag beside it; the flag is wired only for columns that had missing
values in training, because elsewhere its weights were never trained. A category becomes its place in a one-hot block, an
unknown one a block of zeros. All of it in operators that ONNX Runtime has for CPU and CUDA alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.recipes import Feature


class Perceptron(nn.Module):
    """Hidden layers of rectified units over standardised numbers, missing flags and one-hot categories.

    Args:
        features: the columns, in the order of the input.
        classes: number of logits.
        width: units of each hidden layer.
        depth: number of hidden layers.
        dropout: share of the units dropped after each hidden layer while training.
    """

    numeric: Tensor
    one_hot_column: Tensor
    one_hot_code: Tensor
    mean: Tensor
    deviation: Tensor
    has_missing: Tensor

    def __init__(self, *, features: Sequence[Feature], classes: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        numeric = [i for i, feature in enumerate(features) if feature.kind == "numeric"]
        one_hot = [(i, code) for i, feature in enumerate(features) for code in range(len(feature.categories))]
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.int64))
        self.register_buffer("one_hot_column", torch.tensor([i for i, _ in one_hot], dtype=torch.int64))
        self.register_buffer("one_hot_code", torch.tensor([float(code) for _, code in one_hot]))
        self.register_buffer("mean", torch.zeros(len(numeric)))
        self.register_buffer("deviation", torch.ones(len(numeric)))
        self.register_buffer("has_missing", torch.zeros(len(numeric)))
        layers: list[nn.Module] = []
        wide = 2 * len(numeric) + len(one_hot)
        for _ in range(depth):
            layers += [nn.Linear(wide, width), nn.ReLU(), nn.Dropout(dropout)]
            wide = width
        self.layers = nn.Sequential(*layers, nn.Linear(wide, classes))

    def set_statistics(
        self, *, mean: NDArray[np.float64], deviation: NDArray[np.float64], has_missing: NDArray[np.bool_]
    ) -> None:
        """Take over the statistics of the numeric columns; a constant column is only centred."""
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(np.where(deviation > 0, deviation, 1.0)))
        self.has_missing.copy_(torch.tensor(has_missing))

    def forward(self, features: Tensor) -> Tensor:
        """Logits, float32 [n, classes], of rows, float32 [n, features]."""
        parts = []
        if len(self.numeric):
            numbers = features.index_select(1, self.numeric)
            # NaN alone differs from itself; ONNX Runtime has Equal on CUDA for longer than IsNaN.
            missing = numbers != numbers
            standard = torch.where(missing, 0.0, (numbers - self.mean) / self.deviation)
            parts += [standard, missing.to(torch.float32) * self.has_missing]
        if len(self.one_hot_column):
            parts.append((features.index_select(1, self.one_hot_column) == self.one_hot_code).to(torch.float32))
        logits: Tensor = self.layers(torch.cat(parts, dim=1))
        return logits
