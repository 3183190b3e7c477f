"""Histograms of weights and gradients, for `--watch`: what the SDK's own `watch` shows, logged where everything else is.

The SDK's hooks log behind the loop's back, at steps of their own, so a run that was interrupted and goes on would show them
twice, and loggers beside W&B not at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipelines.histograms import Histogram

_BINS = 32


@torch.no_grad()
def histograms(network: nn.Module) -> Mapping[str, Histogram]:
    """`weights/<name>` of each parameter and `gradients/<name>` of each that has one; values that are not finite count as 0."""
    named = {f"weights/{name}": parameter for name, parameter in network.named_parameters()}
    gradients = {f"gradients/{name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    watched = {**named, **gradients}
    ends = torch.stack([torch.stack(torch.aminmax(_finite(tensor))) for tensor in watched.values()])
    counts = [torch.histc(_finite(tensor), bins=_BINS, min=0, max=0) for tensor in watched.values()]
    # One transfer for all of them: a GPU is asked once, not twice for each parameter.
    return {
        name: _histogram(count, low, high)
        for name, count, (low, high) in zip(watched, torch.stack(counts).tolist(), ends.tolist(), strict=True)
    }


def _finite(tensor: Tensor) -> Tensor:
    return tensor.float().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _histogram(counts: list[float], low: float, high: float) -> Histogram:
    if low == high:  # as torch.histc does
        low, high = low - 1, high + 1
    width = (high - low) / _BINS
    return Histogram(counts=tuple(counts), edges=tuple(low + i * width for i in range(_BINS + 1)))
