"""Items that stay on disk, handed to the training loop batch by batch.

Read one item at a time, a disk is slow; read in order, training suffers. So an epoch's order shuffles blocks of neighbours
first (`pipelines.data.inputs.OnDisk.block`) and then the items within a window of many blocks: a window is read with few long
reads, ahead of its time in a thread, and a batch is drawn from all over it. Items that cost the same wherever they lie (image
files) have blocks of one, and are drawn exactly as items in memory are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from pipelines.data.inputs import OnDisk

_WINDOW = 64 << 20


def epoch_order(n: int, draws: Generator, *, block: int = 1, window: int | None = None) -> Tensor:
    """The order in which an epoch sees n items, int64, shape (n,): every item once.

    Args:
        draws: the only source of chance, on the CPU.
        block: neighbours that stay in one window; 1 is a plain permutation.
        window: items that are shuffled among each other; at least one block.
    """
    if block == 1 or window is None or n <= block:
        return torch.randperm(n, generator=draws)
    blocks = torch.randperm(math.ceil(n / block), generator=draws)
    order = (blocks[:, None] * block + torch.arange(block)).reshape(-1)
    order = order[order < n]
    # Whole numbers for the windows and fractions within them: one sort shuffles each window by itself.
    places = torch.arange(n) // max(window, block) + torch.rand(n, generator=draws, dtype=torch.float64)
    return order[torch.argsort(places)]


def onto(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; a copy to a GPU is queued behind what it computes, and nobody waits for it.

    From ordinary memory the copy would be, and the host with it: a GPU that has to be waited for at every batch stands still
    while the next one is prepared. The pinned copy is kept by torch until it has been sent.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Feed:
    """Items of which the inputs are on disk and the targets on the device; the same members as items in memory have.

    Args:
        window: bytes that are read at once; twice that is held.
    """

    def __init__(self, inputs: OnDisk, targets: NDArray[np.int64], device: torch.device, *, window: int = _WINDOW) -> None:
        self.inputs = inputs
        self.targets = torch.from_numpy(targets).to(device)
        self._window = max(1, window // max(1, inputs.nbytes // max(1, len(inputs))))

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Some items, on the device; `index` is on the CPU."""
        device = self.targets.device
        return onto(self._read(index), device), self.targets[onto(index, device)]

    def order(self, draws: Generator) -> Tensor:
        """An order for one epoch, int64, shape (n,)."""
        return epoch_order(len(self), draws, block=self.inputs.block, window=self._window)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Full batches of items in this order, on the device; what is left over at its end is not seen."""
        at_once = max(1, self._window // size) * size
        windows = torch.split(order[: len(order) // size * size], at_once)
        device = self.targets.device
        with ThreadPoolExecutor(1, thread_name_prefix="reg-feed", initializer=partial(_work_for, device)) as pool:
            coming = [pool.submit(self._window_of, index) for index in windows[:1]]
            for number, index in enumerate(windows):
                held = coming.pop().result()
                coming += [pool.submit(self._window_of, later) for later in windows[number + 1 : number + 2]]
                targets = self.targets[onto(index, device)]
                for start in range(0, len(index), size):
                    yield onto(held[start : start + size], device), targets[start : start + size]

    def _window_of(self, index: Tensor) -> Tensor:
        """Items on the host; pinned at once where they go on to a GPU, so that their batches need not be."""
        read = self._read(index)
        return read.pin_memory() if self.targets.device.type == "cuda" else read

    def _read(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.inputs[index.numpy()])


def _work_for(device: torch.device) -> None:
    """Let a thread use the same GPU: a new one is on the first, and pinning there would take memory that is another's."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
