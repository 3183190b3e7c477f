"""The processes that train one network together, as the training loop sees them: who I am, and agreeing with the others.

A process on its own is a team of one, for which every method is the identity, so the loop has one way of doing things. Every
process draws the same order of items and the same augmentation for the whole batch and computes its own share of it; sums
over the batch, in gradients and in batch normalisation, are taken over all shares. So the losses are those of one process
with the whole batch, up to the order in which floating-point numbers are added. Dropout is the exception: it draws in each
process by itself.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipelines.batch_norm import synchronised

T = TypeVar("T")

# Longest wait for another process, which may be validating or waiting for a slow upload.
_PATIENCE = datetime.timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Team:
    """One of `size` processes. The one of rank 0 leads: it validates, logs, and decides."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device of this process: of several GPUs its own."""
        return torch.device("cuda", self.rank) if device.type == "cuda" and self.size > 1 else device

    def mine(self, batch: Tensor) -> Tensor:
        """This process's share of a batch."""
        return batch[self.rank :: self.size] if self.size > 1 else batch

    def total(self, value: Tensor) -> Tensor:
        """The sum of everybody's value."""
        if self.size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def told(self, value: T | None) -> T:
        """What the leader says; the others pass None."""
        said: list[Any] = [value]
        if self.size > 1:
            dist.broadcast_object_list(said, src=0)
        found: T = said[0]
        return found

    def gathered(self, value: T) -> list[T]:
        """Everybody's value, by rank."""
        found: list[Any] = [value]
        if self.size > 1:
            found = [None] * self.size
            dist.all_gather_object(found, value)
        return found

    def joined(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network to compute with: gradients are averaged over the team when they are computed."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)

    def prepared(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network with its batch normalisation over the whole team's batch."""
        return synchronised(network, device) if self.size > 1 else network


@contextmanager
def team(*, rank: int, size: int, meeting: Path, device: torch.device) -> Iterator[Team]:
    """Meet the other processes for the time of the block.

    Args:
        meeting: a file that all of them can reach and that does not exist before the first comes.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Team(rank=rank, size=size)
    finally:
        dist.destroy_process_group()
