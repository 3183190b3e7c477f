"""Every source of chance that a training may draw from: seeded for its time, lent and given back, written down and restored.

Our own loop and recipes draw from torch alone; a recipe of somebody else may use Python's or numpy's global generator, and
would otherwise not repeat itself and not go on as if nothing had happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch

State: TypeAlias = Mapping[str, Any]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all generators for the time of the block; the caller's own states are as before afterwards."""
    before = state(device)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore(before, device)


def state(device: torch.device) -> State:
    """The state of all generators, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    numbers = np.random.get_state(legacy=False)
    found = {
        "python": {"version": version, "internal": torch.tensor(internal, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "key": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
            "pos": int(numbers["state"]["pos"]),
            "has_gauss": int(numbers["has_gauss"]),
            "gauss": float(numbers["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(saved: State, device: torch.device) -> None:
    """Go on drawing where `state` was asked for; a state without this kind of device leaves the device's own as it is."""
    python, numbers = saved["python"], saved["numpy"]
    random.setstate((python["version"], tuple(python["internal"].tolist()), python["gauss"]))
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": numbers["key"].numpy().astype(np.uint32), "pos": numbers["pos"]},
            "has_gauss": numbers["has_gauss"],
            "gauss": numbers["gauss"],
        }
    )
    torch.set_rng_state(saved["torch"])
    if device.type == "cuda" and "cuda" in saved:
        torch.cuda.set_rng_state(saved["cuda"], device)
