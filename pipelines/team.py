"""The processes that train one network together, as the training loop sees them: who I am, and agreeing with the others.

A process on its own is a team of one, for which every method is the identity, so the loop has one way of doing things. Every
process draws the same order of items and the same augmentation for the whole batch and computes its own share of it; sums
over the batch, in gradients and in batch normalisation, are taken over all shares. So the losses are those of one process
with the whole batch, up to the order in which floating-point numbers are added. Dropout is the exception: it draws in each
process by itself.
"""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import Store

from pipelines.batch_norm import synchronised
from registry.errors import DeviceUnavailable

T = TypeVar("T")

# Longest wait for another process, which may be validating or waiting for a slow upload.
PATIENCE = datetime.timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Team:
    """One of `size` processes. The one of rank 0 leads: it validates, logs, and decides.

    `place` is the index of this process's GPU on its machine; `sharing` says how many processes share the CPU threads that
    this one sees.
    """

    rank: int = 0
    size: int = 1
    place: int = 0
    sharing: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device of this process: of several GPUs its own."""
        return torch.device("cuda", self.place) if device.type == "cuda" and self.size > 1 else device

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


def gpu_of(local_rank: int) -> int:
    """The index of the GPU of a machine's process: its own, or the only one that a scheduler lets it see.

    Raises:
        DeviceUnavailable: the machine has fewer GPUs than processes.
    """
    there = torch.cuda.device_count()
    if there == 1 and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return 0
    if local_rank >= there:
        raise DeviceUnavailable(
            f"process {local_rank} of this machine needs a GPU of its own, there are {there}", hint=f"--nproc-per-node {there}"
        )
    return local_rank


@contextmanager
def team(mates: Team, *, store: Store, device: torch.device) -> Iterator[Team]:
    """Meet the other processes for the time of the block.

    Args:
        mates: who this process is.
        store: where all of them leave their addresses; nothing of an earlier meeting is in it.
        device: what the network is computed on. What the processes tell each other apart from numbers on a GPU goes by the
            CPU's side (gloo): a wait for the leader's validation must not keep a kernel of NCCL spinning on every GPU.
    """
    cuda = device.type == "cuda"
    store.set_timeout(PATIENCE)
    if cuda:
        torch.cuda.set_device(mates.place)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=store,
        rank=mates.rank,
        world_size=mates.size,
        timeout=PATIENCE,
        # NCCL connects now, on the right GPU, and not with the first gradients on whichever is the current one.
        device_id=torch.device("cuda", mates.place) if cuda else None,
    )
    try:
        with warnings.catch_warnings():
            # Of images with one channel, whose weights torch lays out in two ways that are the same; nobody can do anything
            # about it.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            yield mates
    except BaseException:
        if cuda:
            # A farewell would wait for kernels that wait for a process which is gone.
            dist.distributed_c10d._abort_process_group()
        else:
            dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()
