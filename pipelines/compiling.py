"""Whether a network is compiled for training, and compiling it.

`torch.compile` needs a C compiler and Triton on the machine and takes a minute or so before the first step; a training that is
over sooner, or a machine without them, must not notice that it exists.
"""

from __future__ import annotations

import importlib.util
import shutil

import torch
from torch import nn

_LONG_ENOUGH = 5_000  # steps: below, a training of small images on a GPU is over before it has won the minute back


def compiled(network: nn.Module, wanted: str, *, device: torch.device, steps: int) -> nn.Module:
    """The network as it is, or compiled; parameters are shared.

    Args:
        wanted: `on`, `off`, or `auto`: on CUDA, for trainings of many steps, where the machine can.
    """
    pays = device.type == "cuda" and steps >= _LONG_ENOUGH
    if wanted == "off" or (wanted == "auto" and not (pays and _can_compile())):
        return network
    if wanted == "auto":
        # A compiler that is there and does not work (no headers, a driver too old for Triton) is noticed at the first step.
        # Nobody asked for it, so what cannot be compiled is computed as it is.
        torch._dynamo.config.suppress_errors = True
    made: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return made


def _can_compile() -> bool:
    return importlib.util.find_spec("triton") is not None and any(map(shutil.which, ("gcc", "clang", "cc")))
