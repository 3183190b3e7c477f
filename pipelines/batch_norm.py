"""Batch normalisation over the batch of all processes, where each of them holds a share.

torch has it for GPUs and refuses tensors on the CPU. The one here is for the CPU, so that training in several processes can be
shown, on any machine, to be training in one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(network: nn.Module, device: torch.device) -> nn.Module:
    """The same network with every batch normalisation taken over all processes; parameters and their names stay."""
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, _Synchronised.of(child))
    return network


class _Sum(torch.autograd.Function):
    """The sum over all processes; each of them goes on to a loss of its own, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class _Synchronised(_BatchNorm):
    """Any dimension; shares may differ in size."""

    @classmethod
    def of(cls, other: _BatchNorm) -> _Synchronised:
        made = cls(other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats)
        made.weight, made.bias = other.weight, other.bias
        made.running_mean, made.running_var = other.running_mean, other.running_var
        made.num_batches_tracked = other.num_batches_tracked
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"at least 2 dimensions are needed, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        across = [axis for axis in range(input.dim()) if axis != 1]
        count = torch.tensor(float(input.numel() // input.shape[1]))
        dist.all_reduce(count)
        mean: Tensor = _Sum.apply(input.sum(dim=across)) / count  # type: ignore[no-untyped-call]
        shape = [1, -1] + [1] * (input.dim() - 2)
        centred = input - mean.view(shape)
        # Of the centred values: the mean of squares less the square of the mean loses digits.
        variance: Tensor = _Sum.apply((centred * centred).sum(dim=across)) / count  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scaled: Tensor = centred * torch.rsqrt(variance + self.eps).view(shape)
        return scaled if self.weight is None else scaled * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
