"""Learning rate schedules: the share of the highest rate at each optimiser step.

Our own dozen lines rather than torch's schedulers: a share that is a function of the step alone needs no state to go on
after an interruption, and cannot be called once too often. Only `plateau` remembers something, because it listens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.config import ScheduleOptions

_WARM_UP = 0.25  # share of the steps in which the rate of a one-cycle schedule climbs


class Schedule:
    """The schedule of one training.

    Args:
        total: optimiser steps planned.
        per_epoch: optimiser steps in an epoch.
    """

    def __init__(self, options: ScheduleOptions, *, total: int, per_epoch: int) -> None:
        self._options, self._total, self._per_epoch = options, total, per_epoch
        warm_up = options.warmup if options.warmup is not None else _WARM_UP if options.name == "one-cycle" else 0.0
        self._warm = round(warm_up * total)
        self._drops, self._waited = 0, 0

    def share(self, step: int) -> float:
        """The share of the highest learning rate at step 1 to `total`, in (0, 1]."""
        options = self._options
        if options.name == "one-cycle":
            return one_cycle(step, total=self._total, warm=self._warm)
        if step <= self._warm:
            return step / self._warm
        if options.name == "cosine":
            along = (step - self._warm - 1) / (self._total - self._warm)
            return options.floor + (1 - options.floor) * (1 + math.cos(math.pi * along)) / 2
        if options.name == "step":
            return options.factor ** ((step - 1) // self._per_epoch // options.every)
        return max(options.factor**self._drops, options.floor)

    def hear(self, *, better: bool) -> None:
        """Be told after each epoch whether it was the best so far: a plateau drops the rate when none was for long enough."""
        if self._options.name != "plateau":
            return
        self._waited = 0 if better else self._waited + 1
        if self._waited >= self._options.patience:
            self._drops, self._waited = self._drops + 1, 0

    def state(self) -> Mapping[str, int]:
        """What `restore` needs to go on."""
        return {"drops": self._drops, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._drops, self._waited = int(state["drops"]), int(state["waited"])


def depends_on_length(options: ScheduleOptions) -> bool:
    """Whether more epochs would have given the steps already taken other rates."""
    return options.name in ("one-cycle", "cosine") or bool(options.warmup)


def one_cycle(step: int, *, total: int, warm: int | None = None) -> float:
    """The share of the highest learning rate at step 1 to `total`: up in a straight line, then down along a cosine.

    Args:
        warm: steps on the way up; None takes a quarter.
    Source: Smith & Topin (2018), with the cosine of PyTorch's OneCycleLR, for any `total` >= 1.
    """
    warm = max(1, round(_WARM_UP * total) if warm is None else warm)
    if step <= warm:
        return step / warm
    return (1 + math.cos(math.pi * (step - warm) / (total - warm + 1))) / 2
